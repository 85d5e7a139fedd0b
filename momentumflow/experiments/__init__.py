"""The experiments of the sources: one module per id, and what runs, keeps and shows them."""
