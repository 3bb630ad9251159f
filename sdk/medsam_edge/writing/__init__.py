"""Write label maps and pictures to files, whole or not at all."""
