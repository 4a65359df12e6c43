"""Laboratory: load, peers, faults and the invariants every run must leave true."""
