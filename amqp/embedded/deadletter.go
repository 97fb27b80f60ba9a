package embedded

import (
	"slices"
	"time"
)

// retryDead is how long dead letters that must not be lost wait for a target that does not take them.
const retryDead = 50 * time.Millisecond

// bury hands what has died to the queue's dead-letter exchange, one after another in the order of their deaths. No lock is held; q.burying is
// set, by who calls.
func (q *queue) bury() {
	for {
		q.mu.Lock()
		if len(q.dead) == 0 || q.deleted {
			q.burying = false
			q.mu.Unlock()
			return
		}
		batch := q.dead
		q.dead = nil
		q.mu.Unlock()
		for at := range batch {
			if !q.handOver(&batch[at]) && q.atLeastOnce {
				q.buryLater(batch[at:])
				return
			}
			q.buried(batch[at].item)
		}
	}
}

// buried forgets a dead letter.
func (q *queue) buried(i *item) {
	q.mu.Lock()
	q.deadCount--
	q.deadBytes -= int64(i.size())
	q.gone(i)
	q.watchLimit()
	q.mu.Unlock()
}

// buryLater keeps dead letters that no queue took, for another attempt. q.burying stays set until then, so that none overtakes them.
func (q *queue) buryLater(batch []dying) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		for _, d := range batch {
			q.gone(d.item)
		}
		return
	}
	q.dead = append(batch, q.dead...)
	if q.retry == nil {
		q.retry = q.vhost.broker.afterFunc(retryDead, q.bury)
		return
	}
	q.retry.Reset(retryDead)
}

// handOver publishes a dead letter. It reports false where no queue has it in the end, or not all that should.
func (q *queue) handOver(d *dying) bool {
	m := q.letter(d)
	targets, ok := q.vhost.route(q.deadExchange, m)
	if !ok {
		if !q.atLeastOnce {
			q.vhost.broker.logf("queue %q: a dead letter (%s) is lost: there is no exchange %q", q.name, d.reason, q.deadExchange)
		}
		return false
	}
	all := len(targets) > 0
	var graves []*queue
	for _, target := range targets {
		if cycles(target.name, m.deaths()) { // dropped there, as on RabbitMQ: it would go round for ever
			q.vhost.broker.logf("queue %q: a dead letter (%s) is dropped: it would come to queue %q again and again", q.name, d.reason, target.name)
			continue
		}
		if !slices.Contains(d.taken, target) {
			ok, dead := target.enqueue(m)
			if ok {
				d.taken = append(d.taken, target)
			}
			if dead {
				graves = append(graves, target)
			}
		}
		all = all && slices.Contains(d.taken, target)
	}
	for _, target := range graves {
		target.bury()
	}
	return all
}

// letter is the message as it goes to the dead-letter exchange.
func (q *queue) letter(d *dying) *message {
	old := d.item.msg
	m := &message{address: &address{q.deadExchange, old.key}, content: old.content, body: old.body, persistent: old.persistent, more: &more{lastFrom: old.exchange}}
	if old.more != nil {
		m.more.failed = old.more.failed
	}
	if q.quorum && d.reason == diedRejected {
		m.more.failed++
	}
	entry := death{queue: q.name, reason: d.reason, count: 1, exchange: old.exchange, keys: old.shownKeys(), first: time.Now()}
	if old.expiring {
		props := old.properties()
		entry.expiration = props.Expiration
		props.DropExpiration()
		list := props.AppendList(nil)
		m.content, m.body = append(list, old.payload()...), uint32(len(list))
	}
	m.more.deaths = slices.Clone(old.deaths())
	if at := slices.IndexFunc(m.more.deaths, func(old death) bool { return old.queue == q.name && old.reason == d.reason }); at >= 0 {
		entry = m.more.deaths[at]
		entry.count++
		m.more.deaths = slices.Delete(m.more.deaths, at, at+1)
	}
	m.more.deaths = slices.Insert(m.more.deaths, 0, entry)
	switch {
	case q.deadHasKey:
		m.address.key = q.deadKey
	case old.more != nil:
		m.more.copies, m.more.hidden = old.more.copies, old.more.hidden
	}
	return m
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
