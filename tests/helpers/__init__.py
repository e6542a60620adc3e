"""What several tests share: the contract, oracles, random networks, boards."""
