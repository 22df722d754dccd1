// Package proxy passes connections on between a host and an instance: Incus's
// proxy devices.
//
// Each device has a process of its own, the relay (package relay), which Start
// starts: the listening sockets are made on one side of the device, the relay lives
// on the other one, in its namespaces of users and network, also of mounts if it
// connects to a path, and connects there. So no path of an instance is ever resolved anywhere but in the instance,
// with the rights that its own root has, and no process has to go to and fro.
//
//	caller                                child on the listening side
//	clone VM|VFORK|FILES           --->   setns, socket, bind, listen; exit
//	  (the sockets are the caller's)
//	caller                                child on the connecting side
//	clone VM|VFORK                 --->   setns, ambient capabilities,
//	                                      execve of this program: the relay
//	  "ready" by a pipe            <---   ids, capabilities, filter of system calls
//
// The relay ends when the instance's init does: it holds a pidfd of it. That
// somebody starts another one when it was killed is up to the caller.
package proxy
