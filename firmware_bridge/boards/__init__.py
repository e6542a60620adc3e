"""What runs a model: the table of boards, the firmware for them, and the devices behind one interface."""
