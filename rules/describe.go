package rules

// The description of the file: which keys stand where, what they mean, what they may hold and what holds without them.
// The walker checks against it and the JSON Schema is made from it, so that the two never say different things.

// kind is what a value may be.
type kind int

const (
	kindString   kind = iota
	kindText          // a string in which ${VAR} may stand
	kindInteger       // a whole number, or one with the suffix k or M where that is said
	kindDuration      // such as 500ms, 30s, 1h30m
	kindBool
	kindStrings   // a list of strings
	kindTexts     // a list of texts
	kindDurations // a list of durations
	kindTextMap   // names with texts
	kindObject
	kindObjects   // a list of objects
	kindObjectMap // names with objects
	kindPattern   // a content pattern
	kindDocument  // an event
	kindReasons   // names of rules with paths
)

// field is one key of an object.
type field struct {
	name     string
	doc      string
	kind     kind
	required bool
	def      string   // default as it would be written; empty: none
	enum     []string // all that a string may be
	form     string   // regular expression of a string, of a map's names, or of a list's strings
	formDoc  string   // the form in words
	min, max int64    // of an integer; max 0 is no limit
	object   *object
}

// object is a mapping with known keys.
type object struct {
	name   string // for messages: "a pipeline"
	doc    string
	fields []field
}

func (o *object) field(name string) *field {
	for i := range o.fields {
		if o.fields[i].name == name {
			return &o.fields[i]
		}
	}
	return nil
}

func (o *object) names() []string {
	names := make([]string, len(o.fields))
	for i, f := range o.fields {
		names[i] = f.name
	}
	return names
}

const (
	// nameForm keeps names usable as a part of broker names, without dots, so that none of them can be mistaken for another.
	nameForm    = `^[a-z0-9][a-z0-9_-]{0,59}$`
	nameFormDoc = "up to 60 of a-z, 0-9, _ and -, beginning with a letter or digit"
	brokerForm  = `^[^\x00-\x1f]{1,200}$`
	brokerDoc   = "1 to 200 characters"
)

var fileObject = &object{name: "a rules file", doc: "Rules file of eventrouter.", fields: []field{
	{name: "version", kind: kindInteger, required: true, min: 1, max: 1, doc: "Version of this format: 1."},
	{name: "name", kind: kindString, form: nameForm, formDoc: nameFormDoc,
		doc: "Prefix of every broker object that the file owns. One of several files that are read together has to give it."},
	{name: "exchanges", kind: kindObjectMap, object: exchangeObject, form: nameForm, formDoc: nameFormDoc,
		doc: "Topic exchanges that publishers publish to. Without any there is one, called events."},
	{name: "pipelines", kind: kindObjectMap, object: pipelineObject, form: nameForm, formDoc: nameFormDoc,
		doc: "Pipelines by name: each has its own queue, consumers, retries and dead letters."},
	{name: "match_queue", kind: kindObject, object: matchQueueObject, doc: "Limits of the queue in which events wait for rules with match or where. Without it there are none."},
	{name: "rules", kind: kindObjects, object: ruleObject, doc: "Which events go into which pipelines."},
	{name: "tests", kind: kindObjects, object: testObject, doc: "Examples that `check` and `test` run."},
}}

var exchangeObject = &object{name: "an exchange", doc: "A topic exchange.", fields: []field{
	{name: "name", kind: kindString, form: brokerForm, formDoc: brokerDoc,
		doc: "Its name on the broker. Without it: the file's name, a dot and the key; for declare: false the key alone."},
	{name: "declare", kind: kindBool, def: "true", doc: "false: it is somebody else's, and only checked to be there."},
}}

var pipelineObject = &object{name: "a pipeline", doc: "A queue, and what is done with each event in it.", fields: []field{
	{name: "description", kind: kindString, doc: "What it is for."},
	{name: "queue", kind: kindObject, object: queueObject, doc: "Shape of its queue."},
	{name: "workers", kind: kindInteger, def: "1", min: 1, max: 10000, doc: "Events handled at once."},
	{name: "prefetch", kind: kindInteger, min: 1, max: 65535, doc: "Events held unsettled at most. Follows workers unless given."},
	{name: "order_by", kind: kindString, doc: "Path such as data.customer.id: events with the same value there are handled one after another, in the order of the queue."},
	{name: "timeout", kind: kindDuration, def: "30s", doc: "For one attempt."},
	{name: "retry", kind: kindObject, object: retryObject, doc: "When a failed event is tried again."},
	{name: "dedup", kind: kindObject, object: dedupObject, doc: "Handle an event, known by its source and id, only once within a time."},
	{name: "steps", kind: kindObjects, object: stepObject, doc: "What is done, one after another. Without any the handler is a Go function, or another program's consumer."},
}}

var queueObject = &object{name: "a queue", doc: "Shape of a queue.", fields: []field{
	{name: "name", kind: kindString, form: brokerForm, formDoc: brokerDoc, doc: "Its name on the broker. Without it: the file's name, a dot and the pipeline's name."},
	{name: "declare", kind: kindBool, def: "true", doc: "false: it is somebody else's, and only checked to be there."},
	{name: "type", kind: kindString, def: "quorum", enum: []string{"quorum", "classic"}, doc: "RabbitMQ's queue type."},
	{name: "max_length", kind: kindInteger, min: 1, doc: "Events it may hold; publishers are refused over it, no event is dropped."},
	{name: "max_bytes", kind: kindInteger, min: 1, doc: "Bytes of bodies it may hold; publishers are refused over it, no event is dropped."},
	{name: "delivery_limit", kind: kindInteger, def: "20", min: 1, max: 1000000, doc: "How often an event that crashes its consumer comes back before it is a dead letter. Quorum queues only."},
	{name: "single_active_consumer", kind: kindBool, def: "false",
		doc: "true: of all instances one gets its events at a time, and another takes over when that ends. With order_by it keeps the order over several instances."},
}}

var matchQueueObject = &object{name: "the section match_queue", doc: "Limits of the queue in which events wait for rules with match or where.", fields: []field{
	{name: "max_length", kind: kindInteger, min: 1, doc: "Events it may hold; publishers are refused over it, no event is dropped."},
	{name: "max_bytes", kind: kindInteger, min: 1, doc: "Bytes of bodies it may hold; publishers are refused over it, no event is dropped."},
}}

var retryObject = &object{name: "a retry policy", doc: "When a failed event is tried again.", fields: []field{
	{name: "attempts", kind: kindInteger, def: "5", min: 1, max: 1000, doc: "Attempts in all, the first included."},
	{name: "delays", kind: kindDurations, def: "[1s, 10s, 1m, 5m]", doc: "Waits before the second attempt, the third and so on; the last repeats. From 1ms to 24h each."},
	{name: "key", kind: kindString, def: "skip", enum: []string{"skip", "wait"},
		doc: "What the order_by key of an event that is tried again does meanwhile: skip, its later events pass; wait, they wait until it is done or a dead letter."},
}}

var dedupObject = &object{name: "a dedup", doc: "Handle an event, known by its source and id, only once within a time. One process remembers, and forgets when it ends.", fields: []field{
	{name: "window", kind: kindDuration, required: true, doc: "How long a handled event is remembered."},
	{name: "entries", kind: kindInteger, def: "1000000", min: 1, max: 100000000, doc: "Events remembered at most; over it the oldest are forgotten before their time."},
}}

var ruleObject = &object{name: "a rule", doc: "Names the pipelines of the events that fulfil all its conditions.", fields: []field{
	{name: "name", kind: kindString, required: true, form: `^[^\x00-\x1f\x7f]{1,200}$`, formDoc: "1 to 200 printable characters", doc: "Unique name, shown by explain and on dead letters."},
	{name: "description", kind: kindString, doc: "What it is for."},
	{name: "type", kind: kindString, def: "#", doc: "Topic pattern: words between dots, * is one word, # any number of words."},
	{name: "from", kind: kindStrings, doc: "Exchanges that it holds for. Without it: all of the file."},
	{name: "match", kind: kindPattern, doc: "Content pattern: the language of Amazon EventBridge, see docs/patterns.md."},
	{name: "where", kind: kindString, doc: "CEL expression for what a pattern cannot say."},
	{name: "pipelines", kind: kindStrings, required: true, doc: "Pipelines that get the event."},
}}

var testObject = &object{name: "a test", doc: "An event, or a file of events, and what is to become of each.", fields: []field{
	{name: "name", kind: kindString, required: true, doc: "What it shows."},
	{name: "event", kind: kindDocument, doc: "The event: type, and any of id, source, subject, time, headers, data and extension attributes."},
	{name: "events", kind: kindString, doc: "Instead of event: a file of events, one a line in CloudEvents' JSON format. A relative path begins at the rules file's folder. What is stated has to be so for each."},
	{name: "from", kind: kindString, doc: "Exchange that it is published to. Without it: the file's first."},
	{name: "pipelines", kind: kindStrings, doc: "Exactly these pipelines get it."},
	{name: "rules", kind: kindStrings, doc: "Exactly these rules hold."},
	{name: "includes", kind: kindStrings, doc: "At least these pipelines get it."},
	{name: "excludes", kind: kindStrings, doc: "None of these pipelines gets it."},
	{name: "holds", kind: kindStrings, doc: "At least these rules hold."},
	{name: "fails", kind: kindReasons, doc: "None of these rules holds. Each has the path of a condition that has to fail, as explain shows it: type, from, where, or a path such as data.total; null is any."},
}}

var stepObject = &object{name: "a step", doc: "One thing done with each event: exactly one of the keys.", fields: []field{
	{name: "webhook", kind: kindObject, object: webhookObject, doc: "POST the event to a URL as CloudEvents over HTTP."},
	{name: "exec", kind: kindObject, object: execObject, doc: "Run a command, the event as JSON on its standard input. Exit code 75 means try again."},
	{name: "file", kind: kindObject, object: appendObject, doc: "Append the event to a file, a line of JSON each."},
	{name: "log", kind: kindObject, object: logObject, doc: "Write the event to the log."},
	{name: "forward", kind: kindObject, object: forwardObject, doc: "Publish the event to another exchange, with confirm."},
}}

var webhookObject = &object{name: "a webhook step", doc: "POST the event to a URL.", fields: []field{
	{name: "url", kind: kindText, required: true, doc: "http or https URL."},
	{name: "mode", kind: kindString, def: "binary", enum: []string{"binary", "structured"}, doc: "CloudEvents content mode."},
	{name: "secret", kind: kindText, doc: "Signs requests by the Standard Webhooks scheme (whsec_…)."},
	{name: "headers", kind: kindTextMap, doc: "More request headers."},
	{name: "timeout", kind: kindDuration, def: "15s", doc: "For one request."},
}}

var execObject = &object{name: "an exec step", doc: "Run a command for each event, without a shell.", fields: []field{
	{name: "command", kind: kindTexts, required: true, doc: "Program and arguments."},
	{name: "env", kind: kindTextMap, doc: "More environment."},
	{name: "dir", kind: kindText, doc: "Working folder."},
	{name: "permanent", kind: kindBool, def: "false", doc: "An exit code other than 0 and 75 makes the event a dead letter at once."},
}}

var appendObject = &object{name: "a file step", doc: "Append each event to a file.", fields: []field{
	{name: "path", kind: kindText, required: true, doc: "The file; it is made if missing, its folder is not."},
	{name: "sync", kind: kindBool, def: "false", doc: "Wait until the disk has it before the event counts as done."},
}}

var logObject = &object{name: "a log step", doc: "Write each event to the log.", fields: []field{
	{name: "level", kind: kindString, def: "info", enum: []string{"debug", "info", "warn", "error"}, doc: "Level of the line."},
	{name: "data", kind: kindBool, def: "false", doc: "Write the event's data too."},
}}

var forwardObject = &object{name: "a forward step", doc: "Publish each event to another exchange.", fields: []field{
	{name: "exchange", kind: kindText, required: true, doc: "Name of the exchange on the broker."},
	{name: "key", kind: kindText, doc: "Routing key. Without it: the event's type."},
}}
