// Package budget accounts for the memory of one stack, in bytes.
//
// It keeps two ledgers. One counts what is held: bytes that were received and not
// read, sent and not acknowledged, waiting to be written or reassembled, with the
// memory that they pin, and what each flow costs by itself. The other counts what was
// promised: buffers that have grown beyond the size that every stream begins with, and
// that a peer may fill at any time.
//
// Below 80 % of the limit everything may grow. From there on nothing does, and streams
// begin small. At the limit nothing new is taken in, writers wait, and whoever
// owns the flows is told, to end some of them.
package budget
