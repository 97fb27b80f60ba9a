package embedded

import (
	"slices"
	"time"
)

// retryDead is how long dead letters that must not be lost wait for a target that does not take them.
const retryDead = 50 * time.Millisecond

// bury hands what has died to the queue's dead-letter exchange. No lock is held.
func (q *queue) bury(dead []dying) {
	if !q.deadLetters {
		return
	}
	for at, d := range dead {
		if q.handOver(d) || !q.atLeastOnce {
			continue
		}
		q.mu.Lock()
		if !q.deleted {
			q.limbo = append(q.limbo, dead[at:]...) // in order
			q.armRetry()
		}
		q.mu.Unlock()
		return
	}
}

func (q *queue) armRetry() {
	if q.retry == nil {
		q.retry = time.AfterFunc(retryDead, q.buryAgain)
		return
	}
	q.retry.Reset(retryDead)
}

func (q *queue) buryAgain() {
	q.mu.Lock()
	dead := q.limbo
	q.limbo = nil
	q.mu.Unlock()
	q.bury(dead)
}

// handOver publishes a dead letter. It reports false where no queue has it in the end.
func (q *queue) handOver(d dying) bool {
	m := q.letter(d)
	targets, ok := q.vhost.route(q.deadExchange, m)
	if !ok {
		return false
	}
	taken := 0
	for _, target := range targets {
		if cycles(target.name, m.deaths) {
			taken++ // dropped there, as on RabbitMQ: it would go round for ever
			continue
		}
		if target.enqueue(m) {
			taken++
		}
	}
	return taken > 0 && taken == len(targets)
}

// letter is the message as it goes to the dead-letter exchange.
func (q *queue) letter(d dying) *message {
	m := *d.item.msg
	entry := death{queue: q.name, reason: d.reason, count: 1, exchange: m.exchange, keys: m.keys, first: time.Now()}
	if m.props.HasExpiration() {
		entry.expiration = m.props.Expiration
		m.props.DropExpiration()
	}
	m.deaths = slices.Clone(m.deaths)
	if at := slices.IndexFunc(m.deaths, func(old death) bool { return old.queue == q.name && old.reason == d.reason }); at >= 0 {
		old := m.deaths[at]
		old.count++
		m.deaths = slices.Delete(m.deaths, at, at+1)
		entry = old
	}
	m.deaths = slices.Insert(m.deaths, 0, entry)
	m.exchange = q.deadExchange
	if q.deadHasKey {
		m.keys = []string{q.deadKey}
		m.props.Headers = withoutCC(m.props.Headers)
	}
	return &m
}

// cycles reports whether a message has been in the queue before and has come back to it without anybody rejecting it on the way.
func cycles(queue string, deaths []death) bool {
	for _, d := range deaths {
		if d.reason == diedRejected {
			return false
		}
		if d.queue == queue {
			return true
		}
	}
	return false
}
