"""Graph -> Plan: a .tflite graph becomes the streaming program that every engine runs."""
