package drop

// A Cause says why something was dropped. It is an index into [Counters]; its
// String is the stable snake_case name used in statistics and documentation.
// Values may be renumbered between versions, names are not.
type Cause uint8

// The causes, in groups. None means: not dropped.
const (
	None Cause = iota

	// The packet door: lengths and headers.

	Short           // fewer bytes than an IP header
	Version         // neither IPv4 nor IPv6
	HeaderLength    // IPv4 header length below 20 or beyond the packet
	TotalLength     // the IP header promises more bytes than came, or fewer than itself
	V4Checksum      // IPv4 header checksum wrong
	BadExtension    // IPv4 option or IPv6 extension header malformed, misplaced or too many
	SourceRoute     // IPv4 source route option, IPv6 routing header with segments left
	NoNextHeader    // IPv6 "no next header": nothing to deliver
	UnknownProtocol // neither TCP, UDP nor the ICMP of that IP version: protocol unreachable
	TinyFragment    // first fragment without the whole transport header, or one that overwrites it (RFC 1858, 8200)
	FragmentLength  // fragment empty, not a multiple of 8, or ending beyond 65535
	FragmentRefused // fragment that overlaps or contradicts another (RFC 5722), or lies beyond 65535
	FragmentTimeout // packets whose first fragment came and others did not in time
	FragmentMemory  // no room for reassembly
	FragmentSource  // fragments beyond the share of one source in reassembly
	L4Length        // TCP, UDP or ICMP header truncated or its length field impossible
	L4Checksum      // TCP, UDP or ICMP checksum wrong, or a UDP checksum of 0 over IPv6
	PortZero        // TCP or UDP port 0
	TCPFlags        // no flag at all, SYN with FIN, SYN with RST

	// The packet door: addresses.

	MartianSource      // source loopback, unspecified, 0/8, multicast, broadcast, class E, v4-mapped, or our own
	MartianDestination // destination loopback, unspecified, 0/8, v4-mapped or interface-local
	ForeignSource      // source outside the configured ones
	Multicast          // multicast or broadcast destination where none is served
	IPv6Off            // IPv6 on a link whose MTU is below its minimum of 1280
	TTLExpired         // TTL or hop limit that ends at the stack: time exceeded

	// TCP.

	SYNQueueFull           // no place in the accept queue
	SYNLimitGlobal         // handshakes in flight: all
	SYNLimitSource         // handshakes in flight: this source key
	SYNLimitDestination    // handshakes in flight: this destination
	StreamLimitGlobal      // open streams: all
	StreamLimitSource      // open streams: this source key
	StreamLimitDestination // open streams: this destination
	AdmitRefused           // Admit said refuse
	AdmitDropped           // Admit said drop
	NobodyListens          // no acceptor and no listener: RST sent
	HandshakeTimeout       // handshake not completed in time
	DecideTimeout          // lazy stream not decided in time
	NoFlow                 // segment of no flow we know
	MemoryLimit            // memory budget exhausted
	SegmentMemory          // segment that would have gone beyond the memory budget
	Rejected               // Reject by the application
	RejectedAgain          // retransmitted SYN of a rejected one, answered alike
	SYNTooLong             // SYN with more data than is kept
	CloseUndelivered       // stream reset at CloseTimeout with bytes undelivered
	AcceptorClosed         // stream waiting in an acceptor that was closed
	TransportUndelivered   // the engine refused the segment: the receive buffer is full
	HandshakeFailed        // handshake ended by the peer or by an error
	OwnAddressUnreachable  // packet of ours for an own address nobody serves

	// ICMP.

	ICMPNoFlow        // error that quotes no flow of ours
	ICMPStranger      // "port unreachable" and the like from another host than the one it is about
	ICMPSequence      // error that quotes a sequence number never sent (RFC 5927)
	ICMPMTU           // "too big" below the minimum or not below the present MTU
	ICMPRate          // too many from one source, or out of our own rate
	ICMPQueueFull     // control queue full
	ICMPMalformed     // error whose quoted packet cannot be read
	ICMPUnhandled     // type nobody serves
	EchoOff           // echo request that nobody answers: by configuration, or no acceptor
	EchoRate          // echo requests beyond the rate of their source
	EchoQueueFull     // no place in the queue of the acceptor
	ICMPReplyTooLarge // reply larger than can be sent

	// Raw IP.

	RawQueueFull // queue of a raw conn full
	RawTooLarge  // larger than IP carries

	// UDP.

	UDPQueueFull       // socket's queue full
	UDPSocketLimit     // socket evicted to make room in the table
	UDPSourceLimit     // socket evicted to make room for its source key
	UDPFiltered        // refused by the socket's filtering (RFC 4787)
	UDPAcceptQueueFull // no place in the accept queue
	UDPNobody          // no acceptor, no listener: port unreachable
	UDPRefused         // Admit or Reject said refuse
	UDPDropped         // Admit said drop
	UDPMemory          // memory budget exhausted
	UDPClosed          // left in the queue of a socket that was closed
	UDPTooLarge        // larger than MaxPayload

	// The way out.

	ControlQueueFull  // RST, ICMP and echo replies beyond their share
	DatagramQueueFull // UDP beyond its share
	DataQueueFull     // TCP data: only when the queue is told to drop
	ConnNoBuffers     // the conn had no buffers (ENOBUFS, EAGAIN)
	ConnTooLarge      // the conn refused the size (EMSGSIZE)
	ConnShortBuffer   // the conn had a packet longer than any IP packet we read
	Closed            // the stack is closing

	count // number of causes, not a cause
)

// names is total: a test says so.
var names = [count]string{
	None:            "none",
	Short:           "short",
	Version:         "version",
	HeaderLength:    "header_length",
	TotalLength:     "total_length",
	V4Checksum:      "v4_checksum",
	BadExtension:    "bad_extension",
	SourceRoute:     "source_route",
	NoNextHeader:    "no_next_header",
	UnknownProtocol: "unknown_protocol",
	TinyFragment:    "tiny_fragment",
	FragmentLength:  "fragment_length",
	FragmentRefused: "fragment_refused",
	FragmentTimeout: "fragment_timeout",
	FragmentMemory:  "fragment_memory",
	FragmentSource:  "fragment_source",
	L4Length:        "l4_length",
	L4Checksum:      "l4_checksum",
	PortZero:        "port_zero",
	TCPFlags:        "tcp_flags",

	MartianSource:      "martian_source",
	MartianDestination: "martian_destination",
	ForeignSource:      "foreign_source",
	Multicast:          "multicast",
	IPv6Off:            "ipv6_off",
	TTLExpired:         "ttl_expired",

	SYNQueueFull:           "syn_queue_full",
	SYNLimitGlobal:         "syn_limit_global",
	SYNLimitSource:         "syn_limit_source",
	SYNLimitDestination:    "syn_limit_destination",
	StreamLimitGlobal:      "stream_limit_global",
	StreamLimitSource:      "stream_limit_source",
	StreamLimitDestination: "stream_limit_destination",
	AdmitRefused:           "admit_refused",
	AdmitDropped:           "admit_dropped",
	NobodyListens:          "nobody_listens",
	HandshakeTimeout:       "handshake_timeout",
	DecideTimeout:          "decide_timeout",
	NoFlow:                 "no_flow",
	MemoryLimit:            "memory_limit",
	SegmentMemory:          "segment_memory",
	Rejected:               "rejected",
	RejectedAgain:          "rejected_again",
	SYNTooLong:             "syn_too_long",
	CloseUndelivered:       "close_undelivered",
	AcceptorClosed:         "acceptor_closed",
	TransportUndelivered:   "transport_undelivered",
	HandshakeFailed:        "handshake_failed",
	OwnAddressUnreachable:  "own_address_unreachable",

	ICMPNoFlow:        "icmp_no_flow",
	ICMPStranger:      "icmp_stranger",
	ICMPSequence:      "icmp_sequence",
	ICMPMTU:           "icmp_mtu",
	ICMPRate:          "icmp_rate",
	ICMPQueueFull:     "icmp_queue_full",
	ICMPMalformed:     "icmp_malformed",
	ICMPUnhandled:     "icmp_unhandled",
	EchoOff:           "echo_off",
	EchoRate:          "echo_rate",
	EchoQueueFull:     "echo_queue_full",
	ICMPReplyTooLarge: "icmp_reply_too_large",

	RawQueueFull: "raw_queue_full",
	RawTooLarge:  "raw_too_large",

	UDPQueueFull:       "udp_queue_full",
	UDPSocketLimit:     "udp_socket_limit",
	UDPSourceLimit:     "udp_source_limit",
	UDPFiltered:        "udp_filtered",
	UDPAcceptQueueFull: "udp_accept_queue_full",
	UDPNobody:          "udp_nobody",
	UDPRefused:         "udp_refused",
	UDPDropped:         "udp_dropped",
	UDPMemory:          "udp_memory",
	UDPClosed:          "udp_closed",
	UDPTooLarge:        "udp_too_large",

	ControlQueueFull:  "control_queue_full",
	DatagramQueueFull: "datagram_queue_full",
	DataQueueFull:     "data_queue_full",
	ConnNoBuffers:     "conn_no_buffers",
	ConnTooLarge:      "conn_too_large",
	ConnShortBuffer:   "conn_short_buffer",
	Closed:            "closed",
}

// String returns the stable name of c, "unknown" for a value that is no cause.
func (c Cause) String() string {
	if c >= count {
		return "unknown"
	}
	return names[c]
}
