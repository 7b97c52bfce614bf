// Package privdrop takes from a process the privileges that it needed to set itself up
// (Linux; Drop elsewhere says errors.ErrUnsupported): it becomes another user on all its
// threads, keeps the capabilities that are named and no others, and neither it nor what
// it starts can get any back.
//
//	err := privdrop.Drop(&privdrop.Config{User: "nobody", Keep: []privdrop.Capability{privdrop.NetAdmin}})
//
// What is open stays open: descriptors, also of files that the user may not open.
package privdrop
