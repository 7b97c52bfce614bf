// Package netnstest gives tests of whole programs network namespaces of their own, on
// Linux as root, and what the programs write to their logs.
package netnstest
