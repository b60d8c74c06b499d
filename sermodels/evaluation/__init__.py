"""How good a network is, whether a lead is more than noise, and where the network looks."""
