package stack

import "testing"

// TestBothWaysOnEveryConn: bulk both ways at once arrives whole, whatever the conn
// can do.
func TestBothWaysOnEveryConn(t *testing.T) {
	for _, kind := range pipes {
		t.Run(kind.name, func(t *testing.T) {
			x, y := kind.make()
			c, s := pairOn(t, x, y, Config{}, Config{})
			a, b, err := connect(c, s)
			if err != nil {
				t.Fatal(err)
			}
			bothWays(t, a, b, 32<<20)
			for _, st := range []Stats{c.Stats(), s.Stats()} {
				for _, cause := range []string{"l4_checksum", "v4_checksum", "data_queue_full", "transport_undelivered", "conn_too_large"} {
					if n := st.Drops[cause]; n != 0 {
						t.Errorf("%d packets dropped: %s", n, cause)
					}
				}
			}
		})
	}
}
