// Package leak fails a test binary that leaves goroutines behind.
//
// It owns nothing at run time: only TestMain functions call it.
package leak
