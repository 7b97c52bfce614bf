// Lossgrid measures how TCP recovers from loss: one bulk transfer between two
// Stacks for each cell of a grid of links (loss, round trip, reordering) and each
// variant of the sender (loss detection, congestion control).
//
//	go run ./bench/lossgrid
//
// prints a Markdown table and writes it, with every single figure as JSON, to the
// folder lossgrid-results. The whole grid takes some two minutes a round; flags
// choose a part of it, and -add adds to what is in the folder already, so that a
// grid can be measured in pieces and repeated:
//
//	go run ./bench/lossgrid -rtt 1ms
//	go run ./bench/lossgrid -rtt 50ms -add
//
// # How it measures
//
// The accepting Stack sends and the dialling one receives; both have the same
// settings. Between them is a pipe in memory with l3conn/fault around the sender's
// end. Loss and reordering are those of each packet, either way; the round trip is
// the delay of the data, so that timers fire late only once; a reordered packet is
// late by a fraction of it. There is no limit of rate, so that every loss is one
// that was asked for: without any, it is the processor that is measured.
//
// A figure is the rate at which bytes reach the application in a span that
// begins some round trips after the handshake, when slow start is over; every byte
// is compared with what was sent. The variants of a cell take turns, round by
// round, and in a round all meet the same dice. Medians are over rounds.
package main
