package differential

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded"
)

// Difference is how the brokers differ; the zero value is no difference.
type Difference struct {
	Before string // the scenario, what was done of it, and what came of that
	What   string // what each broker did then
}

func (d Difference) String() string { return d.Before + d.What }

// Compare plays a scenario on both brokers, step by step, and returns how they differ. The error is one of playing it.
// How long RabbitMQ takes to come to what the embedded broker came to does not matter, up to settling.
func Compare(s *Scenario, ours *embedded.Broker, rabbitmq string) (d Difference, err error) {
	prefix := fmt.Sprintf("d%d-", s.Seed)
	a, err := newPlayer(ours.URL(), prefix, s)
	if err != nil {
		return d, fmt.Errorf("embedded: %w", err)
	}
	defer func() { err = errors.Join(err, a.close()) }()
	b, err := newPlayer(rabbitmq, prefix, s)
	if err != nil {
		return d, fmt.Errorf("rabbitmq: %w", err)
	}
	defer func() { err = errors.Join(err, b.close()) }()
	c := &comparison{ours: ours, prefix: prefix, a: a, b: b}
	for _, q := range s.Queues {
		ttl, there := q.Args["x-message-ttl"]
		c.short = c.short || there && ttl != int32(longTTL)
		c.slow = c.slow || q.quorum() && q.Args["x-dead-letter-exchange"] != nil
	}
	err = c.play(s.Steps)
	if err == nil && c.difference == "" {
		err = c.end(s)
	}
	if c.difference == "" {
		return d, err
	}
	return Difference{s.String() + strings.Join(c.done, "\n") + "\n", c.difference}, err
}

// lag is how much later than on the embedded broker a message may come and expire on RabbitMQ.
const lag = 20 * time.Millisecond

// settling is how long RabbitMQ has to come to the same state.
const settling = 10 * time.Second

type comparison struct {
	ours       *embedded.Broker
	prefix     string
	a, b       *player
	short      bool // a queue has a short time to live
	slow       bool // dead letters of a quorum queue may come when all seems to be done
	held       int  // deliveries that clients hold and that expire soon, or have
	done       []string
	difference string
}

func (c *comparison) play(steps []Step) error {
	for _, s := range steps {
		told, err := c.a.do(s)
		if err != nil {
			return fmt.Errorf("embedded: %s: %w", s, err)
		}
		also, err := c.b.do(s)
		if err != nil {
			return fmt.Errorf("rabbitmq: %s: %w", s, err)
		}
		state, err := c.settle()
		if err != nil {
			return err
		}
		c.done = append(c.done, fmt.Sprintf("%s: %s\n\t%s", s, told, state))
		if told != also {
			c.difference = fmt.Sprintf("the step told\nembedded: %s\nrabbitmq: %s", told, also)
		}
		if c.difference != "" {
			return nil
		}
	}
	return nil
}

// settle waits until the embedded broker has nothing more to do by itself, and then until RabbitMQ is in the same state.
func (c *comparison) settle() (string, error) {
	if err := c.quiet(); err != nil {
		return "", err
	}
	ours, err := c.a.state()
	if err != nil {
		return "", fmt.Errorf("embedded: %w", err)
	}
	if c.slow {
		<-time.After(lag)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(settling); ; <-tick.C {
		theirs, err := c.b.state()
		if err != nil {
			return "", fmt.Errorf("rabbitmq: %w", err)
		}
		if theirs == ours {
			c.outlive()
			return ours, nil
		}
		if time.Now().After(end) {
			c.difference = fmt.Sprintf("the state is\nembedded: %s\nrabbitmq: %s", ours, theirs)
			return ours, nil
		}
	}
}

// outlive waits until what the clients hold has expired, where it does so soon: later it matters when they give it back.
func (c *comparison) outlive() {
	held := 0
	for _, h := range c.b.holders {
		for _, d := range h.held {
			if c.short || d.Expiration == fmt.Sprint(shortTTL) {
				held++
			}
		}
	}
	if held > c.held {
		<-time.After(longestTTL*time.Millisecond + lag)
	}
	c.held = held
}

// quiet waits until nothing is about to expire, no dead letter is on its way, and the clients have what was delivered to them.
func (c *comparison) quiet() error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		if c.isQuiet() {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("the embedded broker does not come to rest")
		}
	}
}

func (c *comparison) isQuiet() bool {
	held, out := 0, 0
	for _, h := range c.a.holders {
		h.receive()
		held += len(h.held)
	}
	just, soon := time.Now().Add(-lag), time.Now().Add(time.Minute)
	for _, q := range c.a.scenario.Queues {
		info, _ := c.ours.Queue("/", c.prefix+q.Name)
		out += info.Unacked
		if info.Dying > 0 {
			return false
		}
		for at, m := range c.ours.Messages("/", c.prefix+q.Name) {
			if !m.Expires.IsZero() && m.Expires.Before(soon) && (at == 0 || m.Expires.After(just)) {
				return false
			}
		}
	}
	return held == out
}

// giveBack has the consumers end and what is held go back one by one: what dies of it is dead-lettered in a certain order then.
func (c *comparison) giveBack() error {
	var steps []Step
	for at := range c.a.holders {
		steps = append(steps, Step{Do: "cancel", Which: at})
	}
	if err := c.play(steps); err != nil || c.difference != "" {
		return err
	}
	for at := range c.a.holders {
		for len(c.a.holders[at].held) > 0 {
			for _, p := range []*player{c.a, c.b} {
				h := p.holders[at]
				d := h.held[0]
				h.held = h.held[1:]
				if err := d.Nack(false, true); err != nil {
					return err
				}
			}
			if _, err := c.settle(); err != nil || c.difference != "" {
				return err
			}
		}
	}
	return nil
}

// end has the clients go, and compares what is left in the queues.
func (c *comparison) end(s *Scenario) error {
	if err := c.giveBack(); err != nil || c.difference != "" {
		return err
	}
	for _, p := range []*player{c.a, c.b} {
		for len(p.holders) > 1 {
			if err := p.drop(len(p.holders) - 1); err != nil {
				return err
			}
		}
		if err := p.drop(0); err != nil {
			return err
		}
	}
	if _, err := c.settle(); err != nil || c.difference != "" {
		return err
	}
	for left := true; left; {
		left = false
		for _, q := range s.Queues {
			n, err := c.drain(q.Name)
			if err != nil || c.difference != "" {
				return err
			}
			left = left || n > 0
		}
	}
	return nil
}

// drain empties a queue, compares what was in it and says how much that was. Messages that had expired behind others die of it, and come to other queues.
func (c *comparison) drain(queue string) (int, error) {
	ours, err := c.a.drain(queue)
	if err != nil {
		return 0, fmt.Errorf("embedded: %w", err)
	}
	theirs, err := c.b.drain(queue)
	if err != nil {
		return 0, fmt.Errorf("rabbitmq: %w", err)
	}
	if !slices.Equal(byWay(ours), byWay(theirs)) {
		c.difference = fmt.Sprintf("in the end queue %s holds\nembedded: %s\nrabbitmq: %s", queue, strings.Join(ours, "\n          "), strings.Join(theirs, "\n          "))
		return 0, nil
	}
	_, err = c.settle()
	return len(ours), err
}

// byWay sorts messages by the way they came: published, or dead-lettered by which queue and why. Between those no order is promised.
func byWay(messages []string) []string {
	out := slices.Clone(messages)
	slices.SortStableFunc(out, func(x, y string) int { return strings.Compare(way(x), way(y)) })
	return out
}

func way(message string) string {
	_, last, _ := strings.Cut(message, "x-last-death-exchange")
	return last
}
