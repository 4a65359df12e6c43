"""The outside engines that make pictures and songs, one file per vendor, behind one protocol."""
