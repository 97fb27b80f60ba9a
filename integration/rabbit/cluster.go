package rabbit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
)

// Cluster is a cluster of three RabbitMQ 4 in containers. A node that cannot reach another one stops serving until it can (pause_minority). How long it waits
// for a node that was killed is as docs/reliability.md advises.
type Cluster struct {
	URL   string // of all nodes, with commas between them
	Nodes []*Server

	docker *testcontainers.DockerClient
	net    string // name of the network between the nodes
}

const clusterSize = 3

// clusters counts, so that each has names of its own.
var clusters atomic.Int64

// NewCluster starts a cluster for one test, and waits until all nodes are in it. tick is RabbitMQ's net_ticktime, in seconds: a node counts another one as gone
// when it has not heard of it for so long, give or take a quarter. Where there is no Docker engine the test is skipped, with the reason; in CI it fails.
func NewCluster(t testing.TB, tick int) *Cluster {
	t.Helper()
	c, err := startCluster(t.Context(), tick)
	if c != nil {
		t.Cleanup(func() {
			if err := c.close(); err != nil {
				t.Errorf("ending the cluster: %v", err)
			}
		})
	}
	if err != nil {
		Missing(t, fmt.Errorf("a cluster of RabbitMQ: %w", err))
	}
	t.Logf("%d nodes of RabbitMQ %s, %s", len(c.Nodes), c.Nodes[0].Version, c.Nodes[0].How)
	return c
}

func startCluster(ctx context.Context, tick int) (*Cluster, error) {
	engine, err := docker()
	if err != nil {
		return nil, err
	}
	image, err := findImage(ctx, engine, V4)
	if err != nil {
		return nil, err
	}
	c := &Cluster{docker: engine, net: fmt.Sprintf("eventrouter-test-%d-%d", os.Getpid(), clusters.Add(1))}
	if _, err := engine.NetworkCreate(ctx, c.net, client.NetworkCreateOptions{Labels: map[string]string{owner: strconv.Itoa(os.Getpid())}}); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("cluster_partition_handling = pause_minority\ncluster_formation.peer_discovery_backend = classic_config\nnet_ticktime = %d\nraft.adaptive_failure_detector.poll_interval = 1000\n", tick)
	for i := range clusterSize {
		conf += fmt.Sprintf("cluster_formation.classic_config.nodes.%d = rabbit@node%d\n", i+1, i)
	}
	var urls []string
	for i := range clusterSize {
		host := fmt.Sprint("node", i)
		s, err := startContainer(ctx, engine, image,
			testcontainers.WithConfigModifier(func(c *container.Config) { c.Hostname = host }),
			tcnetwork.WithNetworkName([]string{host}, c.net),
			testcontainers.WithEnv(map[string]string{"RABBITMQ_ERLANG_COOKIE": "eventrouter", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel net_setuptime 1"}),
			testcontainers.WithFiles(testcontainers.ContainerFile{Reader: strings.NewReader(conf), ContainerFilePath: "/etc/rabbitmq/conf.d/10-cluster.conf", FileMode: 0o644}),
		)
		if err != nil {
			return c, err
		}
		s.How = "docker: " + image
		c.Nodes = append(c.Nodes, s)
		urls = append(urls, s.URL)
	}
	c.URL = strings.Join(urls, ",")
	return c, c.whole(ctx)
}

// Restart stops a node as an operator does, starts it again, and waits until it is in the cluster.
func (c *Cluster) Restart(ctx context.Context, node int) error {
	if err := c.Nodes[node].stop(ctx); err != nil {
		return err
	}
	return c.Revive(ctx, node)
}

// Revive starts a node that was killed, and waits until it is in the cluster.
func (c *Cluster) Revive(ctx context.Context, node int) error {
	if err := c.Nodes[node].Start(ctx); err != nil {
		return err
	}
	return c.whole(ctx)
}

// CutOff takes the network from a node: neither the other nodes nor clients reach it, and no connection is told.
func (c *Cluster) CutOff(ctx context.Context, node int) error {
	_, err := c.docker.NetworkDisconnect(ctx, c.net, client.NetworkDisconnectOptions{Container: c.Nodes[node].container, Force: true})
	return err
}

// Join gives a node its network again, once all nodes have noticed that it was gone, and waits until it is in the cluster. A network that comes back while
// some nodes have noticed and some have not is a partial partition, which RabbitMQ may not recover from by itself.
func (c *Cluster) Join(ctx context.Context, node int) error {
	s := c.Nodes[node]
	for i := range c.Nodes {
		var err error
		if i == node {
			err = c.until(ctx, i, "listening no more", c.closed)
		} else {
			err = c.until(ctx, i, "two nodes", c.eval("true = length(rabbit_nodes:list_running()) < 3."))
		}
		if err != nil {
			return err
		}
	}
	if _, err := c.docker.NetworkConnect(ctx, c.net, client.NetworkConnectOptions{
		Container: s.container, EndpointConfig: &network.EndpointSettings{Aliases: []string{fmt.Sprint("node", node)}},
	}); err != nil {
		return err
	}
	return c.whole(ctx)
}

// whole waits until each node sees all.
func (c *Cluster) whole(ctx context.Context) error {
	for i, s := range c.Nodes {
		if err := s.Ready(ctx); err != nil {
			return err
		}
		if err := c.until(ctx, i, "three nodes", c.eval("3 = length(rabbit_nodes:list_running()).")); err != nil {
			return err
		}
	}
	return nil
}

// eval is whether an Erlang expression comes to its end on a node.
func (c *Cluster) eval(expression string) func(ctx context.Context, node int) error {
	return func(ctx context.Context, node int) error { return c.Nodes[node].Control(ctx, "eval", expression) }
}

// closed is whether a node takes no connections: one that pauses closes its port. rabbitmqctl cannot be asked on a node without a network: it looks its own name up.
func (c *Cluster) closed(ctx context.Context, node int) error {
	return run(ctx, "docker", "exec", c.Nodes[node].container, "sh", "-c", "! grep -q ':1628 0*:0000 0A' /proc/net/tcp /proc/net/tcp6") // 5672, LISTEN
}

// until waits until a node is as asked for.
func (c *Cluster) until(ctx context.Context, node int, what string, so func(ctx context.Context, node int) error) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	var last error
	for {
		asking, done := context.WithTimeout(ctx, time.Minute)
		err := so(asking, node)
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %d never came to %s: %w", node, what, cmp.Or(last, err))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *Cluster) close() error {
	var errs []error
	for _, s := range c.Nodes {
		errs = append(errs, s.Close())
	}
	_, err := c.docker.NetworkRemove(context.Background(), c.net, client.NetworkRemoveOptions{})
	return errors.Join(append(errs, err)...)
}
