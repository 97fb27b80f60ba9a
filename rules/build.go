package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// builder merges files. References between parts are checked at the end, when all parts are known.
type builder struct {
	out      File
	problems Problems
	named    Pos            // where the file's name was given
	places   map[string]Pos // kind and name of every part, to where it stands
	used     map[string]bool
	refs     []reference
}

// reference is a name that has to be that of a part.
type reference struct {
	w    *walker
	node *yaml.Node
	kind string
}

func newBuilder() *builder {
	return &builder{places: map[string]Pos{}, used: map[string]bool{}}
}

func (b *builder) file(w *walker, root *yaml.Node) {
	v := w.object(root, fileObject)
	if v.nodes["version"] != nil {
		v.int("version")
	}
	if n, _, ok := v.has("name"); ok {
		b.name(w, n, v.string("name"))
	}
	b.exchanges(v)
	b.pipelines(v)
	b.matchQueue(v)
	b.rules(v)
	b.tests(v)
}

func (b *builder) name(w *walker, n *yaml.Node, name string) {
	if b.out.Name != "" && b.out.Name != name {
		w.errorf(n, "name is %q here and %q in %s; files that are read together have one name", shorten(name), b.out.Name, b.named)
		return
	}
	b.out.Name, b.named = name, w.pos(n)
}

// claim notes that a part is called so; two parts of a kind cannot be.
func (b *builder) claim(w *walker, n *yaml.Node, kind, name string) {
	if first, ok := b.places[kind+" "+name]; ok {
		w.errorf(n, "%s %q is there already, in %s", kind, shorten(name), first)
		return
	}
	b.places[kind+" "+name] = w.pos(n)
}

// refer notes names that have to exist in the end.
func (b *builder) refer(w *walker, kind string, nodes []*yaml.Node) {
	for _, n := range nodes {
		b.refs = append(b.refs, reference{w, n, kind})
	}
}

// namedEntries lists the entries of a mapping from names to objects, with the names checked.
func (b *builder) namedEntries(v values, key, kind string) []entry {
	n, f, ok := v.has(key)
	if !ok {
		return nil
	}
	entries := v.w.entries(n, key)
	for _, e := range entries {
		if !v.w.form(f.form).MatchString(e.key.Value) {
			v.w.errorf(e.key, "%s name %q is not %s", kind, shorten(e.key.Value), f.formDoc)
		}
		b.claim(v.w, e.key, kind, e.key.Value)
	}
	return entries
}

func (b *builder) exchanges(v values) {
	for _, e := range b.namedEntries(v, "exchanges", "exchange") {
		if slices.Contains([]string{"matched", "unrouted", "retry"}, e.key.Value) {
			v.w.errorf(e.key, "exchange %q is a name that eventrouter keeps for itself", e.key.Value)
		}
		x := v.w.object(e.value, exchangeObject)
		b.out.Exchanges = append(b.out.Exchanges, Exchange{
			Pos: v.w.pos(e.key), Key: e.key.Value, Name: x.string("name"), Declare: x.bool("declare"),
		})
	}
}

var reserved = []string{"match", "matched", "unrouted", "plan", "lock", "retry", "dead"}

func (b *builder) pipelines(v values) {
	for _, e := range b.namedEntries(v, "pipelines", "pipeline") {
		if slices.Contains(reserved, e.key.Value) {
			v.w.errorf(e.key, "pipeline %q is a name that eventrouter keeps for itself", e.key.Value)
		}
		b.out.Pipelines = append(b.out.Pipelines, b.pipeline(v.w.object(e.value, pipelineObject), e.key))
	}
}

func (b *builder) matchQueue(v values) {
	n, _, ok := v.has("match_queue")
	if !ok {
		return
	}
	b.claim(v.w, n, "the section", "match_queue")
	limits := v.child("match_queue")
	b.out.MatchQueue = Limits{MaxLength: limits.int("max_length"), MaxBytes: limits.int("max_bytes")}
}

func (b *builder) pipeline(v values, key *yaml.Node) Pipeline {
	queue, retry, dedup := v.child("queue"), v.child("retry"), v.child("dedup")
	p := Pipeline{
		Pos:         v.w.pos(key),
		Name:        key.Value,
		Description: v.string("description"),
		Queue: Queue{
			Name:      queue.string("name"),
			Declare:   queue.bool("declare"),
			Type:      QueueType(queue.string("type")),
			MaxLength: queue.int("max_length"),
			MaxBytes:  queue.int("max_bytes"),

			SingleActive: queue.bool("single_active_consumer"),
		},
		Workers:  int(v.int("workers")),
		Prefetch: int(v.int("prefetch")),
		OrderBy:  v.path("order_by"),
		Timeout:  v.duration("timeout"),
		Retry:    Retry{Attempts: int(retry.int("attempts")), Delays: retry.durations("delays"), KeyWaits: retry.string("key") == "wait"},
		Steps:    v.steps(),
	}
	if p.Queue.Type == Quorum {
		p.Queue.DeliveryLimit = int(queue.int("delivery_limit"))
	} else if n, _, ok := queue.has("delivery_limit"); ok {
		v.w.errorf(n, "delivery_limit is for quorum queues, and this one is %s", p.Queue.Type)
	}
	if n, _, ok := v.has("prefetch"); ok && p.Prefetch < p.Workers {
		v.w.warn(n, fmt.Sprintf("prefetch %d keeps at most %d of the %d workers busy", p.Prefetch, p.Prefetch, p.Workers), "")
	}
	if _, _, ok := v.has("dedup"); ok {
		p.Dedup = Dedup{Window: dedup.duration("window"), Entries: int(dedup.int("entries"))}
	}
	v.order(&p, queue, retry)
	return p
}

// maxInPlace bounds how long one event is held while its key waits for it: RabbitMQ takes back what a consumer holds for 30 minutes.
const maxInPlace = 15 * time.Minute

// order notes what goes against the order that a pipeline asks for.
func (v values) order(p *Pipeline, queue, retry values) {
	n, _, ordered := v.has("order_by")
	if _, _, said := queue.has("single_active_consumer"); ordered && !said {
		v.w.warn(n, "order_by keeps order within one process: several that share the queue handle events of one key side by side",
			"queue: {single_active_consumer: true} has one of them work at a time; false says that this is not needed. A queue that is there already takes apply --migrate")
	}
	key, _, said := retry.has("key")
	switch {
	case !p.Retry.KeyWaits:
	case said && !ordered:
		v.w.error(key, "key: wait is for pipelines with order_by, and this one has no keys", "order_by: data.customer.id, for instance")
	case len(p.Retry.Delays) > 0 && p.Retry.Longest(p.Timeout) > maxInPlace:
		v.w.error(key, fmt.Sprintf("with key: wait all attempts at an event and the delays between them take at most %s, and these may take %s", shortDuration(maxInPlace), shortDuration(p.Retry.Longest(p.Timeout))),
			"fewer attempts, shorter delays or a shorter timeout: RabbitMQ takes back what is held for 30 minutes")
	}
}

// shortDuration writes a duration without its zero parts: 15m, not 15m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (b *builder) rules(v values) {
	n, _, ok := v.has("rules")
	if !ok {
		return
	}
	for _, item := range v.w.items(n, "rules") {
		b.out.Rules = append(b.out.Rules, b.rule(v.w.object(item, ruleObject)))
	}
}

func (b *builder) rule(v values) Rule {
	r := Rule{Pos: v.w.pos(v.node), Name: v.string("name"), Type: v.string("type")}
	if n, _, ok := v.has("name"); ok {
		r.Pos = v.w.pos(n)
		b.claim(v.w, n, "rule", r.Name)
	}
	if n, _, ok := v.has("type"); ok {
		v.w.typePattern(n, r.Type)
	}
	var from, pipelines []*yaml.Node
	r.From, from = v.stringNodes("from")
	r.Pipelines, pipelines = v.stringNodes("pipelines")
	b.refer(v.w, "exchange", from)
	b.refer(v.w, "pipeline", pipelines)
	for _, name := range []string{"from", "pipelines"} {
		if n := v.nodes[name]; n != nil && n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
			v.w.errorf(n, "%s is empty", name)
		}
	}
	for _, p := range r.Pipelines {
		b.used["pipeline "+p] = true
	}
	if n, _, ok := v.has("match"); ok {
		r.Match = v.w.pattern(n)
	}
	if n, _, ok := v.has("where"); ok {
		r.Where = v.w.where(n)
	}
	b.contradictions(v, &r)
	if n := v.nodes["match"]; n != nil {
		v.w.costs(n, &r)
	}
	return r
}

// maxKey is AMQP's limit on routing keys, in bytes.
const maxKey = 255

// typePattern notes what the broker would refuse, or would take in another sense than the one that was probably meant.
func (w *walker) typePattern(n *yaml.Node, pattern string) {
	if len(pattern) > maxKey {
		w.errorf(n, "type pattern is %d bytes long, and a routing key has at most %d", len(pattern), maxKey)
	}
	for word := range strings.SplitSeq(pattern, ".") {
		if len(word) > 1 && strings.ContainsAny(word, "*#") {
			w.warn(n, fmt.Sprintf("%q is a literal word: * and # are wildcards only as whole words between dots", shorten(word)),
				"match on type for parts of words: match: {type: [{wildcard: \""+shorten(pattern)+"\"}]}")
			return
		}
	}
}

// references checks that what is named is there.
func (b *builder) references() {
	if len(b.out.Exchanges) == 0 {
		b.out.Exchanges = []Exchange{{Key: "events", Declare: true}}
		b.places["exchange events"] = Pos{}
	}
	known := map[string][]string{}
	for place := range b.places {
		kind, name, _ := strings.Cut(place, " ")
		known[kind] = append(known[kind], name)
	}
	for _, names := range known {
		slices.Sort(names)
	}
	for _, r := range b.refs {
		if _, ok := b.places[r.kind+" "+r.node.Value]; !ok {
			p := r.w.problem(Error, r.w.pos(r.node), fmt.Sprintf("unknown %s %q", r.kind, shorten(r.node.Value)), didYouMean(r.node.Value, known[r.kind]))
			b.problems = append(b.problems, p)
		}
	}
}

// finish checks what can be checked only when all files are known.
func (b *builder) finish(files []string) {
	if b.out.Name == "" {
		b.problems = append(b.problems, Problem{
			Pos: Pos{File: files[0]}, Message: "no name is given", Hint: "name: shop, for instance: the prefix of every broker object",
		})
	}
	b.clashes()
	b.warnings()
}

// clashes finds two queues or exchanges that would be one on the broker.
func (b *builder) clashes() {
	queues, exchanges := map[string]string{}, map[string]string{}
	claim := func(seen map[string]string, at Pos, kind, broker, name string) {
		if other, ok := seen[broker]; ok {
			b.problems = append(b.problems, Problem{Pos: at, Message: fmt.Sprintf("%s %q has the broker name %q, as %q has", kind, name, broker, other)})
			return
		}
		seen[broker] = name
	}
	for _, x := range b.out.Exchanges {
		if x.Name != "" {
			claim(exchanges, x.Pos, "exchange", x.Name, x.Key)
		}
	}
	for _, p := range b.out.Pipelines {
		if p.Queue.Name != "" {
			claim(queues, p.Pos, "queue of pipeline", p.Queue.Name, p.Name)
		}
	}
}

// warnings notes what is allowed but hardly meant.
func (b *builder) warnings() {
	for _, p := range b.out.Pipelines {
		if !b.used["pipeline "+p.Name] {
			b.problems = append(b.problems, Problem{Pos: p.Pos, Severity: Warning, Message: fmt.Sprintf("pipeline %q gets no events: no rule names it", p.Name)})
		}
	}
	b.covered()
}
