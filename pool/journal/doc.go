// Package journal keeps intents: what a command is about to do in several steps, written down before the first of them,
// so that the next command can finish or undo it when this one is killed or the power fails.
//
// A journal is a directory; each entry is a directory in it:
//
//	ID/             held by flock(2) on the directory itself for as long as its owner lives
//	ID/intent.json  {"op": ..., "args": ...}
//	ID/...          whatever the operation stages there
//
// The kernel drops the flock with the process, so an entry whose lock is free has lost its owner: Recover takes it and
// gives it to the handler of its operation. The lock is on the directory and not on a file inside, so it comes and goes
// with the entry by one rename and one rmdir.
//
// An entry is made as ".new-ID", locked, filled and then renamed to ID. Locking may come second to a Recover that already
// removed the new directory; Begin notices (the directory has no link left) and makes another one.
//
// Begin makes the intent durable (fsync) before it returns. BeginUnsynced leaves that out: enough where an intent that a
// power cut tore (Recover then sees the operation "") loses nothing, because whatever the entry holds may be thrown away.
//
// The package knows nothing of what the operations do, and never removes anything of an entry but intent.json.
package journal
