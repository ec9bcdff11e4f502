"""What outlives a process: the Registry (deployments and their history) and the Blob store (bundles)."""
