package forward

import (
	"context"
	"time"

	"l3extract/adapters/sniff"
	"l3extract/tcp"
)

// sniffTime is how long a client may take to say something. One that waits for its server
// to speak first waits for so much longer.
const sniffTime = 300 * time.Millisecond

// firstName looks at what the client of st, which is connected, says first, and leaves it
// where it is. It returns the host name in it, "" if there is none.
func (n *session) firstName(ctx context.Context, st *tcp.Stream) string {
	n.stats.sniffed.Add(1)
	_ = st.SetReadDeadline(time.Now().Add(n.sniffTime)) // fails for one that has ended, as Peek does
	defer func() { _ = st.SetReadDeadline(time.Time{}) }()
	defer context.AfterFunc(ctx, func() { _ = st.SetReadDeadline(time.Unix(1, 0)) })()

	b := make([]byte, sniff.MaxBytes)
	for have := 0; ; {
		got, err := st.Peek(b[:have+1])
		if err == nil { // and all the rest that has come
			got, err = st.Peek(b[:min(max(st.Info().Unread, got), len(b))])
		}
		have = max(have, got)
		host, done := sniff.Host(b[:have], err != nil || have == len(b))
		if done {
			if host != "" {
				n.stats.sniffedNames.Add(1)
			}
			return host
		}
	}
}
