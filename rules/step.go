package rules

import "time"

// Step is one thing that a pipeline does with an event. Exactly one of the pointers is set.
type Step struct {
	Pos     Pos
	line    string // of the file, at Pos
	Webhook *Webhook
	Exec    *Exec
	Append  *Append
	Log     *Log
	Forward *Forward
}

// Text is a step's option in which ${VAR} stands for a variable of the environment; $${ is a literal ${.
// It is expanded when the pipelines start, never by this package, so that a file can be checked anywhere.
type Text string

// Webhook sends each event to a URL.
type Webhook struct {
	URL     Text
	Mode    string          // "binary" (default) or "structured": CloudEvents over HTTP
	Secret  Text            // signs by the Standard Webhooks scheme; empty: not signed
	Headers map[string]Text // more request headers
	Timeout time.Duration   // for one request; default 15s
}

// Exec runs a command for each event, the event's JSON document on its standard input. There is no shell.
type Exec struct {
	Command   []Text          // the program and its arguments
	Env       map[string]Text // more environment
	Dir       Text
	Permanent bool // a non-zero exit other than 75 goes to the dead letters at once
}

// Append appends each event as a line of NDJSON to a file; the step is called `file`.
type Append struct {
	Path Text
	Sync bool // fsync before the event counts as done; the default is that the operating system has it
}

// Log writes each event to the program's log.
type Log struct {
	Level string // debug, info (default), warn, error
	Data  bool   // with the event's data
}

// Forward publishes each event to another exchange and waits for the confirm.
type Forward struct {
	Exchange Text
	Key      Text // routing key; empty: the event's type
}
