package differential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// player does a scenario's steps on one broker.
type player struct {
	prefix   string
	scenario *Scenario
	conn     *amqp091.Connection
	admin    *amqp091.Channel // declares, asks for counts
	publish  *amqp091.Channel
	returns  chan amqp091.Return
	fetch    *holder // for basic.get
	holders  []*holder
	made     int // messages, for their bodies
}

// holder is a channel with the deliveries that it holds.
type holder struct {
	ch         *amqp091.Channel
	queue      string // that it consumes from; empty for basic.get
	deliveries <-chan amqp091.Delivery
	held       []amqp091.Delivery // oldest first
	cancelled  bool
}

func newPlayer(url, prefix string, s *Scenario) (*player, error) {
	conn, err := amqp091.Dial(url)
	if err != nil {
		return nil, err
	}
	p := &player{prefix: prefix, scenario: s, conn: conn, fetch: &holder{}}
	for _, ch := range []**amqp091.Channel{&p.admin, &p.publish, &p.fetch.ch} {
		if *ch, err = conn.Channel(); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	p.holders = []*holder{p.fetch}
	p.returns = p.publish.NotifyReturn(make(chan amqp091.Return, 100))
	if err := errors.Join(p.publish.Confirm(false), p.declare()); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *player) name(n string) string {
	if n == "" {
		return ""
	}
	return p.prefix + n
}

func (p *player) declare() error {
	if err := p.queues(); err != nil {
		return err
	}
	for _, x := range p.scenario.Exchanges {
		var args amqp091.Table
		if x.Alternate != "" {
			args = amqp091.Table{"alternate-exchange": p.name(x.Alternate)}
		}
		if err := p.admin.ExchangeDeclare(p.name(x.Name), x.Kind, true, false, false, false, args); err != nil {
			return err
		}
	}
	for _, b := range p.scenario.Bindings {
		if err := p.bind(b); err != nil {
			return err
		}
	}
	return nil
}

// queues declares the queues. Each gets a message that is taken away again, since on RabbitMQ the first that a channel publishes to a quorum queue is
// overtaken by what else comes there meanwhile.
func (p *player) queues() error {
	for _, q := range p.scenario.Queues {
		args := amqp091.Table{}
		for k, v := range q.Args {
			args[k] = v
			if text, ok := v.(string); ok && strings.HasPrefix(k, "x-dead-letter-") {
				args[k] = p.key(text)
			}
		}
		if _, err := p.admin.QueueDeclare(p.name(q.Name), true, false, false, false, args); err != nil {
			return err
		}
		confirm, err := p.publish.PublishWithDeferredConfirm("", p.name(q.Name), false, false, amqp091.Publishing{})
		if err != nil {
			return err
		}
		confirm.Wait()
		if err := p.purge(q); err != nil {
			return err
		}
	}
	return p.purge(p.scenario.Queues...) // where it has expired in another in spite of all
}

func (p *player) purge(queues ...Queue) error {
	for _, q := range queues {
		if _, err := p.admin.QueuePurge(p.name(q.Name), false); err != nil {
			return err
		}
	}
	return nil
}

// key is a routing key: that of a queue or exchange has the prefix.
func (p *player) key(key string) string {
	if len(key) == 2 && (key[0] == 'q' || key[0] == 'x') {
		return p.prefix + key
	}
	return key
}

func (p *player) bind(b Binding) error {
	if b.ToExchange {
		return p.admin.ExchangeBind(p.name(b.To), b.Key, p.name(b.From), false, b.Args)
	}
	return p.admin.QueueBind(p.name(b.To), b.Key, p.name(b.From), false, b.Args)
}

// close deletes all that the scenario made.
func (p *player) close() error {
	var errs []error
	for _, q := range p.scenario.Queues {
		_, err := p.admin.QueueDelete(p.name(q.Name), false, false, false)
		errs = append(errs, err)
	}
	for _, x := range p.scenario.Exchanges {
		errs = append(errs, p.admin.ExchangeDelete(p.name(x.Name), false, false))
	}
	return errors.Join(append(errs, p.conn.Close())...)
}

// do does a step and tells what a client sees of it at once.
func (p *player) do(s Step) (string, error) {
	switch s.Do {
	case "publish":
		return p.send(s)
	case "get":
		d, ok, err := p.fetch.ch.Get(p.name(s.Queue), s.NoAck)
		if err != nil || !ok {
			return "nothing", err
		}
		if !s.NoAck {
			p.fetch.held = append(p.fetch.held, d)
		}
		return p.tell(d), nil
	case "settle":
		return "", p.settle(s)
	case "consume":
		return "", p.consume(s)
	case "cancel":
		h := p.holders[s.Which%len(p.holders)]
		if h == p.fetch || h.cancelled {
			return "", nil
		}
		h.cancelled = true
		return "", h.ch.Cancel("tag", false)
	case "close":
		return "", p.drop(s.Which % len(p.holders))
	case "purge":
		_, err := p.admin.QueuePurge(p.name(s.Queue), false)
		return "", err
	case "bind":
		return "", p.bind(s.Binding)
	case "unbind":
		if s.Binding.ToExchange {
			return "", p.admin.ExchangeUnbind(p.name(s.Binding.To), s.Binding.Key, p.name(s.Binding.From), false, s.Binding.Args)
		}
		return "", p.admin.QueueUnbind(p.name(s.Binding.To), s.Binding.Key, p.name(s.Binding.From), s.Binding.Args)
	}
	return "", fmt.Errorf("no such step: %q", s.Do)
}

// send publishes mandatory messages, and tells which were confirmed, refused and returned.
func (p *player) send(s Step) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var confirms []*amqp091.DeferredConfirmation
	for range s.Many {
		m := s.Message
		m.Headers = amqp091.Table{}
		for k, v := range s.Message.Headers {
			if list, ok := v.([]any); ok {
				v = []any{p.key(list[0].(string)), list[1]}
			}
			m.Headers[k] = v
		}
		p.made++
		m.Body = fmt.Append(nil, p.made)
		c, err := p.publish.PublishWithDeferredConfirmWithContext(ctx, p.name(s.Exchange), p.key(s.Key), true, false, m)
		if err != nil {
			return "", err
		}
		confirms = append(confirms, c)
	}
	var out []string
	for _, c := range confirms {
		ok, err := c.WaitContext(ctx)
		if err != nil {
			return "", err
		}
		out = append(out, fmt.Sprint(ok))
	}
	for len(p.returns) > 0 {
		out = append(out, "returned "+string((<-p.returns).Body))
	}
	return strings.Join(out, " "), nil
}

func (p *player) settle(s Step) error {
	h := p.holders[s.Which%len(p.holders)]
	if len(h.held) == 0 {
		return nil
	}
	at := s.Which % len(h.held)
	d := h.held[at]
	if s.Multiple {
		h.held = h.held[at+1:]
	} else {
		h.held = slices.Delete(slices.Clone(h.held), at, at+1)
	}
	switch s.How {
	case "ack":
		return d.Ack(s.Multiple)
	case "reject":
		if !s.Multiple {
			return d.Reject(false)
		}
		return d.Nack(true, false)
	case "nack":
		return d.Nack(s.Multiple, false)
	}
	return d.Nack(s.Multiple, true)
}

// consume adds a consumer, at most one to a queue.
func (p *player) consume(s Step) error {
	for _, h := range p.holders {
		if h.queue == s.Queue {
			return nil
		}
	}
	ch, err := p.conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.Qos(s.Prefetch, 0, false); err != nil {
		return err
	}
	h := &holder{ch: ch, queue: s.Queue}
	if h.deliveries, err = ch.Consume(p.name(s.Queue), "tag", false, false, false, false, nil); err != nil {
		return err
	}
	p.holders = append(p.holders, h)
	return nil
}

// drop closes a channel with all that it holds.
func (p *player) drop(at int) error {
	h := p.holders[at]
	if err := h.ch.Close(); err != nil {
		return err
	}
	if h != p.fetch {
		p.holders = slices.Delete(p.holders, at, at+1)
		return nil
	}
	h.held = nil
	var err error
	h.ch, err = p.conn.Channel()
	return err
}

// state tells how many messages each queue has ready, and what each channel holds.
func (p *player) state() (string, error) {
	var b strings.Builder
	for _, q := range p.scenario.Queues {
		info, err := p.admin.QueueDeclarePassive(p.name(q.Name), true, false, false, false, nil)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s=%d ", q.Name, info.Messages)
	}
	for _, h := range p.holders {
		h.receive()
		fmt.Fprintf(&b, "| %s:", h.queue)
		for _, d := range h.held {
			fmt.Fprintf(&b, " %s", d.Body)
		}
	}
	return b.String(), nil
}

// receive takes what has been delivered.
func (h *holder) receive() {
	for {
		select {
		case d, ok := <-h.deliveries:
			if !ok {
				return
			}
			h.held = append(h.held, d)
		default:
			return
		}
	}
}

// drain takes all messages out of a queue, and tells each.
func (p *player) drain(queue string) ([]string, error) {
	var out []string
	for {
		d, ok, err := p.admin.Get(p.name(queue), true)
		if err != nil || !ok {
			return out, err
		}
		out = append(out, p.tell(d))
	}
}

// tell is all of a delivery that both brokers should agree on: not the times of deaths.
func (p *player) tell(d amqp091.Delivery) string {
	deaths, _ := d.Headers["x-death"].([]any)
	for _, v := range deaths {
		if death, ok := v.(amqp091.Table); ok {
			delete(death, "time")
		}
	}
	text := fmt.Sprintf("%s redelivered=%v from %q %q expiration=%q mode=%d %s", d.Body, d.Redelivered, d.Exchange, d.RoutingKey, d.Expiration, d.DeliveryMode, show(d.Headers))
	return strings.ReplaceAll(text, p.prefix, "")
}

const patience = 20 * time.Second
