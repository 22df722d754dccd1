// Package partition finds what is on the disk of a virtual machine: its partitions
// (GPT and MBR), which of them is the root, and what file systems they hold. It
// reads and never writes; everything on the disk is untrusted.
//
// Sources: the UEFI specification, chapter 5 (GPT); linux/block/partitions/msdos.c
// (MBR and its chain of logical partitions); the Discoverable Partitions
// Specification of the UAPI group (types of roots); blkid's superblock magics.
package partition
