"""What can be proved of a method: the constants of the invariant manifold."""
