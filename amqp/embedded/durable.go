package embedded

// These write down what of the topology is to outlive the broker; the vhost's lock is held.

func (v *vhost) keepExchange(x *exchange) {
	if j := v.broker.journal; j != nil && x.durable {
		x.id = j.newID()
		j.set(recordExchange, x.id, appendExchange(v.name, x))
	}
}

// keepQueue keeps durable queues, but not those that go with their connection.
func (v *vhost) keepQueue(q *queue) {
	if j := v.broker.journal; j != nil && q.durable && q.owner == nil {
		q.id = j.newID()
		j.set(recordQueue, q.id, appendQueue(q))
	}
}

// keepBinding keeps bindings between what is kept.
func (v *vhost) keepBinding(b *binding) {
	j := v.broker.journal
	if j == nil || !b.source.durable || b.queue != nil && b.queue.id == 0 || b.queue == nil && !b.exchange.durable {
		return
	}
	b.id = j.newID()
	j.set(recordBinding, b.id, appendBinding(v.name, b))
}

func (v *vhost) forgetBinding(b *binding) { v.broker.journal.unset(recordBinding, b.id) }
