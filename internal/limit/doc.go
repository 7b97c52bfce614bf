// Package limit counts who holds how many places of a bounded table: in all,
// for each source and for each destination, with a share that one busy source
// cannot take.
//
// It owns numbers only; what a place stands for, and what is done when there is
// none, is its user's business. It starts no goroutine and waits for nothing.
package limit
