"""The truth of the sentences that the diagnosis says: a judge for each form, on cases that nobody was shown."""
