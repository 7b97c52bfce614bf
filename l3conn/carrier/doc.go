// Package carrier is a conn whose carrier may be replaced: a Stack above it, and its
// flows, live on while the connection that carries their packets is lost and made
// anew.
//
//	conn, err := carrier.New(&carrier.Config{Dial: func(ctx context.Context) (l3conn.Conn, error) {
//		stream, err := dialer.DialContext(ctx, "tcp", "vpn.example:443") // a *tls.Dialer
//		if err != nil {
//			return nil, err
//		}
//		return framed.New(stream, &framed.Config{Keepalive: 15 * time.Second})
//	}})
//	g.Go(func() error { return conn.Run(ctx) }) // dials whenever there is no carrier
//
// The end that is dialled calls Replace with what it has accepted and authenticated;
// the newest carrier wins, because the peer may know of a loss first.
//
// # What is lost
//
// A Write that finds no carrier waits for one, as Config.Wait says counted from the
// loss, and holds no more than it was given: a Stack's packets stay in the Stack's own
// queue, which is bounded. After that time packets are lost, with l3conn.ErrDown, until
// there is a carrier again. What a carrier had taken and not delivered is lost with it.
// All of this is what IP does; a TCP connection inside goes on as soon as one of its
// retransmissions finds a carrier, but not with RACK: see tcp.Config.Recovery.
//
// # The end
//
// A carrier that fails, for whatever reason and in good order too, is closed and
// waited for. The conn ends by Close; when there was no carrier for Config.Limit, with
// a *GoneError; or when Dial says that it will never work, see [Permanent].
//
// # Deadlines
//
// The conn has deadlines whatever its carriers have. One that passes while a carrier
// without deadlines is being read or written closes that carrier.
package carrier
