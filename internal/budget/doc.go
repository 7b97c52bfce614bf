// Package budget accounts for the memory that one stack has promised.
//
// The engine cannot say what its queues hold, so the budget counts limits that
// were granted, not bytes that are there: a buffer of 64 KiB costs 64 KiB from
// the moment it is allowed until it is given back. Up to 80 % of the limit
// everything may grow; from there on nothing grows and streams start small; at
// the limit nothing new is granted.
package budget
