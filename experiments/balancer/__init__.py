"""The paper's figure 5 anew: thirteen unmodified clients, four servers, with and without a balancer."""
