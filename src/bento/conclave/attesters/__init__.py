"""Where evidence comes from: one interface (`base.Attester`), one file for each source.

    emulated     a software platform in Intel's formats under a test root; for tests, proves nothing
    gramine_sgx  an SGX enclave under Gramine            untested on hardware
    tsm          TDX or SNP through the kernel's configfs untested on hardware
    tpm          a TPM 2.0 through tpm2-tools             tested with a software TPM

An attester runs inside the conclave (all but the emulator), so it is itself part of what is
measured. It must never see a client's secret: it is given 64 bytes and returns evidence about them.
"""
