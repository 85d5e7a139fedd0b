"""Linear theory: what a method and its oscillator do to one eigenvalue of the Hessian."""
