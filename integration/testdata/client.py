"""What a client in Python (pika) expects of a broker, whose URL is the argument."""
import sys

import pika

conn = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
ch = conn.channel()
ch.confirm_delivery()
ch.exchange_declare("shop", "topic", durable=True)
ch.queue_declare("dead", durable=True)
ch.queue_declare("orders", durable=True, arguments={
    "x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead", "x-delivery-limit": 1})
ch.queue_bind("orders", "shop", "order.*")
for n in range(3):
    ch.basic_publish("shop", "order.created", b"%d" % n, pika.BasicProperties(headers={"n": n, "nested": {"list": [1, "x", None]}}), mandatory=True)
try:
    ch.basic_publish("shop", "nobody", b"", mandatory=True)
    sys.exit("a message that no queue takes did not come back")
except pika.exceptions.UnroutableError:
    pass
ch.basic_qos(prefetch_count=2)
bodies = []
for method, properties, body in ch.consume("orders", inactivity_timeout=10):
    bodies.append(body)
    assert properties.headers["nested"] == {"list": [1, "x", None]}, properties.headers
    if body == b"2":
        ch.basic_nack(method.delivery_tag, requeue=False)
        break
    ch.basic_ack(method.delivery_tag)
assert bodies == [b"0", b"1", b"2"], bodies
ch.cancel()
for method, properties, body in ch.consume("dead", inactivity_timeout=10):
    death = properties.headers["x-death"][0]
    assert (death["reason"], death["queue"], death["count"]) == ("rejected", "orders", 1), death
    ch.basic_ack(method.delivery_tag)
    break
ch.cancel()
tx = conn.channel()
tx.tx_select()
tx.basic_publish("", "dead", b"never")
tx.tx_rollback()
tx.basic_publish("", "dead", b"kept")
tx.tx_commit()
assert tx.basic_get("dead", auto_ack=True)[2] == b"kept"
try:
    conn.channel().queue_declare("orders", durable=True)
    sys.exit("a queue of another type was taken for the same")
except pika.exceptions.ChannelClosedByBroker as e:
    assert e.reply_code == 406, e
conn.close()
print("ok")
