// Package bench holds the measurements that compare whole stacks in memory: ours
// on every kind of conn, and in the same run the engine as others use it, gVisor's
// gonet over its channel endpoint. README.md says how to run them and what came out.
//
// It is beside the house: nothing imports it.
package bench
