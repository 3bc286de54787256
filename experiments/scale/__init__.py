"""How LoadBalancer does with 100 to 100,000 visitors on a network of the public one's size, by simulation."""
