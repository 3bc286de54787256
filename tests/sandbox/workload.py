"""What functions do, as texts to run inside: plain use of documented modules and programs.

Nothing here makes a system call by its name. Each text leaves its errors in `result`, or 1 + 1.
"""

LIBRARY = """
import os, sys

def files():
    import fcntl, glob, mmap, pathlib, shutil, tempfile, zipfile
    home = pathlib.Path(tempfile.mkdtemp())
    os.chdir(home)
    whole = bytes(range(256)) * 64
    (home / "a").write_bytes(whole)
    file = os.open("a", os.O_RDWR)
    os.readv(file, [bytearray(10)]); os.writev(file, [b"12"])
    os.pread(file, 5, 0); os.pwrite(file, b"1", 0)
    os.preadv(file, [bytearray(5)], 0); os.pwritev(file, [b"1"], 0)
    os.lseek(file, 0, 0); os.fsync(file); os.fdatasync(file)
    os.posix_fallocate(file, 0, 20000); os.posix_fadvise(file, 0, 0, 0)
    os.ftruncate(file, 9000); os.truncate("a", 8000); os.fchmod(file, 0o600); os.chmod("a", 0o640)
    fcntl.flock(file, fcntl.LOCK_EX); fcntl.lockf(file, fcntl.LOCK_SH)
    with mmap.mmap(file, 8000) as view:
        view[0] = 1; view.flush(); view.madvise(mmap.MADV_WILLNEED); view.resize(8192)
    other = os.open("b", os.O_RDWR | os.O_CREAT)
    os.copy_file_range(file, other, 100, 0, 0); os.sendfile(other, file, 0, 100)
    ends = os.pipe(); os.splice(file, ends[1], 10, offset_src=0); os.read(ends[0], 10)
    for made in (os.dup(file), os.dup2(file, 50), os.dup2(file, 51, inheritable=False)):
        os.close(made)
    os.closerange(60, 70)
    shutil.copy2("a", "c"); os.rename("c", "d"); os.replace("d", "e"); os.link("e", "f")
    os.symlink("e", "g"); os.readlink("g"); os.lstat("g"); os.stat("e"); os.fstat(file)
    os.access("e", os.R_OK); os.access("e", os.R_OK, effective_ids=True); os.statvfs("/tmp")
    os.fstatvfs(file); os.utime("e"); os.mkdir("h"); os.umask(0o077); os.getcwd()
    folder = os.open(".", os.O_RDONLY)
    os.fchdir(folder)
    at = {"dir_fd": folder}
    os.mkdir("i", **at); os.rename("e", "j", src_dir_fd=folder, dst_dir_fd=folder)
    os.link("j", "k", src_dir_fd=folder, dst_dir_fd=folder); os.symlink("j", "l", **at)
    os.readlink("l", **at); os.chmod("j", 0o600, **at); os.access("j", os.R_OK, **at)
    os.stat("j", **at); os.unlink("k", **at); os.rmdir("i", **at); os.rmdir("h")
    os.listdir("."); os.listdir(folder); list(os.scandir(".")); list(os.walk(".")); glob.glob("**")
    with zipfile.ZipFile("z.zip", "w") as pack:
        pack.write("a")
    try:
        os.get_terminal_size(file)
    except OSError:
        pass
    os.isatty(file); os.set_blocking(file, False); os.set_inheritable(file, True)
    with tempfile.TemporaryFile() as temporary:
        temporary.write(whole)
    try:
        os.close(os.memfd_create("memory"))
    except PermissionError:  # allowed only where a control group counts it
        pass
    os.chdir("/tmp"); shutil.rmtree(home)

def databases():
    import dbm, sqlite3
    with sqlite3.connect("/tmp/data") as data:
        data.execute("pragma journal_mode=wal")
        data.execute("create table t (x)")
        data.executemany("insert into t values (?)", [(i,) for i in range(1000)])
    data.close()
    dbm.open("/tmp/keys", "c").close()

def threads():
    import concurrent.futures, queue, threading, time
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: sum(range(n)), range(100)))
    condition = threading.Condition()
    with condition:
        condition.wait(0.01)
    threading.stack_size(1 << 20)
    for thread in (threading.Thread(target=threading.get_native_id), threading.Timer(0.01, int)):
        thread.start(); thread.join()
    os.sched_yield()
    os.sched_setaffinity(0, os.sched_getaffinity(0)); os.sched_getscheduler(0)

def processes():
    import multiprocessing.connection, multiprocessing.shared_memory, subprocess
    def child(code=0):
        pid = os.fork()
        if not pid:
            os.setsid(); os._exit(code)
        return pid
    os.waitpid(child(), 0); child(); os.wait3(0); child(); os.wait()
    os.waitid(os.P_PID, child(), os.WEXITED)
    fork = multiprocessing.get_context("fork")
    one, two = fork.Pipe()
    process = fork.Process(target=two.send, args=(os.getpid(),)); process.start(); process.join()
    one.recv()
    multiprocessing.connection.wait([one], 0)
    try:
        subprocess.run(["/usr/bin/true"])
    except PermissionError:
        pass
    (os.getpid(), os.getppid(), os.getpgrp(), os.getpgid(0), os.getsid(0), os.getuid(), os.geteuid(),
     os.getgid(), os.getegid(), os.getresuid(), os.getresgid(), os.getgroups(), os.times(), os.uname(),
     os.cpu_count(), os.sysconf("SC_PHYS_PAGES"), os.urandom(8), os.getrandom(8))
    import resource
    limit = resource.getrlimit(resource.RLIMIT_CORE); resource.setrlimit(resource.RLIMIT_CORE, limit)
    resource.prlimit(0, resource.RLIMIT_CORE); resource.getrusage(resource.RUSAGE_SELF)

def signals():
    import faulthandler, signal, threading, time
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.alarm(1); signal.alarm(0)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)  # again and again: one comes during the pause
    signal.getitimer(signal.ITIMER_REAL); signal.pause(); signal.setitimer(signal.ITIMER_REAL, 0)
    mine = {signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, mine)
    os.kill(os.getpid(), signal.SIGUSR1); signal.sigpending(); signal.sigwait(mine)
    signal.sigtimedwait(mine, 0.01); signal.sigtimedwait(mine, 0)
    signal.raise_signal(signal.SIGCHLD); signal.pthread_kill(threading.get_ident(), signal.SIGCHLD)
    signal.siginterrupt(signal.SIGUSR1, False); faulthandler.enable()

def clocks():
    import time
    (time.time(), time.monotonic(), time.process_time(), time.thread_time(), time.localtime(),
     time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_getres(time.CLOCK_MONOTONIC))
    time.sleep(0.001)

def waiting():
    import os, select, selectors, socket
    a, b = socket.socketpair()
    b.send(b"x")
    select.select([a], [], [], 0)
    poll = select.poll(); poll.register(a); poll.poll(0)
    with select.epoll() as epoll:
        epoll.register(a, select.EPOLLIN); epoll.poll(0)
    with selectors.DefaultSelector() as selector:
        selector.register(a, 1); selector.select(0)
    import fcntl, termios
    fcntl.ioctl(a, termios.FIONREAD, bytes(4))
    event = os.eventfd(1); os.eventfd_read(event); os.close(event)

def sockets():
    import array, asyncio, socket, socketserver, threading, urllib.request, http.server, stem.control
    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b"page")
        def log_message(self, *_):
            pass
    import _socket
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind in ((socket.SOCK_DGRAM, 17), (socket.SOCK_STREAM, 6)):
            _socket.socket(family, *kind).close()
        one = _socket.socket(family, socket.SOCK_DGRAM)
        one.bind((host, 0))
        one.sendto(b"x", one.getsockname()); one.recvfrom(9)
        one.sendmsg([b"x"], [], 0, one.getsockname()); one.recvmsg(9); one.close()
        door, caller = _socket.socket(family, socket.SOCK_STREAM), _socket.socket(family, 1)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        door.bind((host, 0)); door.listen(); caller.connect(door.getsockname())
        theirs = _socket.socket(fileno=door._accept()[0])
        theirs.getpeername(); theirs.sendall(b"x"); caller.recv(1); theirs.shutdown(2)
        theirs.close(); caller.close(); door.close()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as local:
            local.bind("/tmp/local%d" % kind)
    one, two = socket.socketpair()
    socket.send_fds(one, [b"x"], [0]); os.close(socket.recv_fds(two, 9, 1)[1][0])
    site = http.server.HTTPServer(("127.0.0.1", 0), Quiet, False)
    site.socket.close(); site.socket = _socket.socket(); site.socket.bind(("127.0.0.1", 0))
    async def both():
        server = await asyncio.start_unix_server(lambda r, w: w.close(), "/tmp/door")
        reader, writer = await asyncio.open_unix_connection("/tmp/door")
        await reader.read(); writer.close(); server.close()
        await asyncio.to_thread(sum, [1])
    asyncio.run(both())
    try:
        stem.control.Controller.from_socket_file("/tmp/none")
    except stem.SocketError:
        pass
    socket.getaddrinfo("localhost", 80); socket.gethostbyname("localhost"); socket.gethostname()
    try:
        socket.getaddrinfo("nowhere.invalid", 80)  # no server is there to be asked
    except socket.gaierror:
        pass

def modules():
    import ctypes, decimal, hashlib, json, lzma, random, re, ssl, uuid, zlib, bz2, secrets, pdb
    import requests, httpx, email.message, xml.dom.minidom, csv, logging, platform, getpass, locale
    ssl.create_default_context(); uuid.uuid4(); platform.platform(); secrets.token_bytes(9)
    lzma.compress(bytes(1 << 20)); hashlib.scrypt(b"x", salt=b"y", n=1024, r=8, p=1)
    getpass.getuser()

result = ""
sys.path.append("/usr/lib/python3/dist-packages")
for part in (files, databases, threads, processes, signals, clocks, waiting, sockets, modules):
    try:
        part()
    except BaseException as error:
        import traceback
        result += traceback.format_exc()
"""

PROGRAMS = """
    import os, subprocess
    os.makedirs("/tmp/some/where")
    open("/tmp/some/file", "w").write("text")
    script = "cd /tmp/some; ls -lR; cp -a file copy; mv copy where; cat where/* | sort | gzip > z; sleep 0.1 & wait"
    done = subprocess.run(["/usr/bin/sh", "-c", script], capture_output=True, text=True)
    result = done.stderr
"""

PAGE = """
    page = chromium.open("data:text/html,<title>ok</title><body style='background:rgb(255,0,0)'>")
    chromium.call("Page.captureScreenshot", page)
    result = chromium.call("Runtime.evaluate", page, expression="1 + 1")["result"]["value"]
"""
