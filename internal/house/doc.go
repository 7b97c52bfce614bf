// Package house keeps the house in order. It holds tests only: that every package says what it is for, that imports
// point downwards, that the engine stays behind internal/netstack and out of every exported signature, that the
// dependencies of the library are the few it promises, that the code shown in the documents is code that runs, and a few
// smaller rules of CONTRIBUTING.md. A rule that nothing checks is forgotten; these are checked by go test.
package house
