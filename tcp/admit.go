package tcp

import "fmt"

// Verdict is what Config.Admit decides about a SYN.
type Verdict uint8

// The verdicts.
const (
	Accept Verdict = iota // let it in, as far as the limits allow
	Refuse                // answer with RST: the client sees "connection refused"
	Drop                  // no answer: the client waits
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	switch v {
	case Accept:
		return "accept"
	case Refuse:
		return "refuse"
	case Drop:
		return "drop"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}
