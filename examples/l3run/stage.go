package main

// stage names a step of the set-up, as it stands in an error message.
type stage string

const (
	stageStart   stage = "start in new namespaces"
	stageTalk    stage = "talk to the process inside"
	stageMounts  stage = "take the mounts private"
	stageTUN     stage = "make the TUN device"
	stageLink    stage = "configure the network inside"
	stageFiles   stage = "put own files over those in /etc"
	stageHide    stage = "hide the resolver sockets"
	stageDrop    stage = "give up the privileges"
	stageProxy   stage = "use the proxy or the resolvers"
	stageStack   stage = "run the stack"
	stageCapture stage = "open the capture file"
)

// setupError says which step failed, and what to do about it when that is known.
type setupError struct {
	Stage  stage
	Err    error
	Remedy string // whole sentences, or empty
}

func (e *setupError) Error() string {
	msg := "cannot " + string(e.Stage) + ": " + e.Err.Error()
	if e.Remedy != "" {
		msg += "\n" + e.Remedy
	}
	return msg
}

func (e *setupError) Unwrap() error { return e.Err }
