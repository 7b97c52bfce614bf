// Package privdrop takes from a process the privileges that it needed to set itself up
// (Linux; Drop elsewhere says errors.ErrUnsupported): it becomes another user on all its
// threads, keeps the capabilities that are named and no others, and neither it nor what
// it starts can get any back.
//
//	err := privdrop.Drop(&privdrop.Config{User: "nobody", Keep: []privdrop.Capability{privdrop.NetAdmin}})
//
// Who stays root has lost the capabilities and still owns root's files and settings of
// the kernel, by which a process can get everything back: name a user.
//
// What is open stays open: descriptors, also of files that the user may not open.
package privdrop
