// Package udp turns UDP datagrams found in raw IP packets into [Socket] values:
// a net.PacketConn for every conversation, whatever address it was meant for.
// A [Socket] comes from the stack's [Acceptor], or from ListenPacket and
// DialContext of package stack for traffic of our own.
//
// # Mapping
//
// [Config].Mapping says which datagrams share a Socket. The rule: the address of
// ReadFrom and WriteTo is the end that the mapping leaves open. ReadMsg and
// WriteMsg carry both ends, always. "Client" is who sends to us from behind the
// packet conn, "dialled" is the address it sends to.
//
//	                     PerSource            PerFlow             PerDestination
//	one Socket for each  client               client and dialled  dialled
//	LocalAddr            unspecified          dialled             dialled
//	RemoteAddr           client               client              nil
//	Source               client               client              zero
//	Destination          zero                 dialled             dialled
//	ReadFrom's addr      where the client     client              the client that
//	                     sent this datagram                       sent it
//	WriteTo(b, addr)     to the client,       addr must be        to that client,
//	                     from addr            the client          from dialled
//
// A Socket that the stack listens on is like PerDestination. Only PerFlow has a
// net.Conn, see [Socket.Conn].
//
// [Config].Filtering says who may send to a client, as in RFC 4787, section 5:
// it is checked when the application sends. Hairpinning is a matter of whoever
// carries the datagrams on: here they end.
//
// # Life of a Socket
//
// A datagram that belongs to no Socket opens one, if [Config].Admit and the
// limits let it, and is the first to be read from it. The Socket ends when it is
// closed or rejected, when its client has been silent for the idle timeout, when
// it makes room for another, or with the stack. What its calls return then
// matches net.ErrClosed and, unless it was closed by its user, the reason; so
// does the cause of [Socket.Context].
//
// Neither reading packets nor writing them ever waits for the application. What
// an application does not read in time is dropped and counted; so is what the
// way out has no room for, in which case the write succeeds as in any network.
// An idle Socket costs some 800 bytes, no goroutine and no timer.
//
// # Many at a time
//
// [Socket.ReadBatch] and [Socket.WriteBatch] take several datagrams in one call, in
// memory of the caller. A conn that takes runs of datagrams (a Linux TUN with USO)
// gets those of a WriteBatch that are equal in size and ends as one write.
//
// # Timeouts
//
// What the client sends refreshes a Socket's timeout, always (RFC 4787 REQ-6). What
// the application sends to the client does so only with WriteRefreshes: a stranger who
// keeps sending could hold a place for ever.
//
// # Errors
//
// Every call returns *net.OpError, whose cause errors.Is finds: net.ErrClosed,
// os.ErrDeadlineExceeded, syscall.EMSGSIZE, ECONNREFUSED and so on. A datagram
// that is longer than the buffer it is read into is never cut in silence: ReadMsg and
// ReadBatch say so in Msg.Truncated and Message.Truncated and without an error, the other
// reads with an error beside the data.
//
// # Defaults
//
// Zero is the default; a negative number means no limit, or never.
//
//	Mapping               PerSource
//	Filtering             EndpointIndependent
//	IdleTimeout           5 min
//	OneShotTimeout        30 s     question and answer
//	DNSIdleTimeout        10 s     to port 53 only
//	WriteRefreshes        false
//	MaxSockets            32768    then the least recently used is evicted
//	MaxSocketsPerSource   no limit
//	QueueBytes            1 MiB    per Socket
//	QueueDatagrams        1024     per Socket
//	TotalQueueBytes       64 MiB   all Sockets
//	AcceptQueue           1024     Sockets not accepted yet
//	Admit                 nil      all
//	Multicast             false    dropped and counted
//	DontFragment          false
//	HopLimit              64
//	TrafficClass          0
//
// Multicast and broadcast datagrams (to IPv4's 255.255.255.255 or the broadcast address
// of one of the stack's own networks) are dropped and counted unless Config.Multicast is
// set; they are never answered with ICMP.
package udp
