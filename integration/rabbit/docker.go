package rabbit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// images are where a version comes from: in a registry, and what build.sh makes of Debian's packages.
var images = map[Version]struct{ pulled, built, debian string }{
	V4: {"rabbitmq:4-management", "eventrouter-rabbitmq:4.0", "4.0"},
	V3: {"rabbitmq:3.10-management", "eventrouter-rabbitmq:3.10", "3.10"},
}

// owner is the label of our containers: the number of the process that has to remove them.
const owner = "eventrouter.test.pid"

// docker is the engine, with what earlier runs have left behind removed.
var docker = sync.OnceValues(func() (*testcontainers.DockerClient, error) {
	// There is no need of the reaper, whose image may not be at hand: what is left behind is removed by the next run.
	if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
		return nil, err
	}
	ctx := context.Background()
	c, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.Ping(ctx, client.PingOptions{}); err != nil {
		return nil, fmt.Errorf("no Docker engine: %w", err)
	}
	return c, removeOrphans(ctx, c)
})

// removeOrphans removes containers and networks whose test process is gone.
func removeOrphans(ctx context.Context, c *testcontainers.DockerClient) error {
	ours := client.Filters{}.Add("label", owner)
	containers, err := c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		return err
	}
	for _, item := range containers.Items {
		if orphan(item.Labels) {
			if _, err := c.ContainerRemove(ctx, item.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
				return err
			}
		}
	}
	networks, err := c.NetworkList(ctx, client.NetworkListOptions{Filters: ours})
	if err != nil {
		return err
	}
	for _, item := range networks.Items {
		if orphan(item.Labels) {
			if _, err := c.NetworkRemove(ctx, item.ID, client.NetworkRemoveOptions{}); err != nil {
				return err
			}
		}
	}
	return nil
}

func orphan(labels map[string]string) bool {
	pid, err := strconv.Atoi(labels[owner])
	return err != nil || syscall.Kill(pid, 0) != nil
}

// inDocker starts a container. It tries again, as a port that was free may be taken by the time that the container has it.
func inDocker(ctx context.Context, v Version) (*Server, error) {
	c, err := docker()
	if err != nil {
		return nil, err
	}
	image, err := findImage(ctx, c, v)
	if err != nil {
		return nil, err
	}
	for tries := 1; ; tries++ {
		s, err := startContainer(ctx, c, image)
		if err == nil || tries == 5 || ctx.Err() != nil {
			return s, err
		}
		fmt.Fprintf(os.Stderr, "starting %s, once more: %v\n", image, err)
	}
}

func startContainer(ctx context.Context, c *testcontainers.DockerClient, image string, more ...testcontainers.ContainerCustomizer) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	api, err := freePort()
	if err != nil {
		return nil, err
	}
	made, err := testcontainers.Run(ctx, image, append([]testcontainers.ContainerCustomizer{
		testcontainers.WithLogger(quiet{}),
		testcontainers.WithExposedPorts("5672/tcp", "15672/tcp"),
		testcontainers.WithLabels(map[string]string{owner: strconv.Itoa(os.Getpid())}),
		testcontainers.WithConfigModifier(func(c *container.Config) { c.Hostname = "rabbit" }), // the folder of its data is named after it
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			// The same port after a restart.
			here := netip.MustParseAddr("127.0.0.1")
			h.PortBindings = network.PortMap{
				network.MustParsePort("5672/tcp"):  {{HostIP: here, HostPort: strconv.Itoa(port)}},
				network.MustParsePort("15672/tcp"): {{HostIP: here, HostPort: strconv.Itoa(api)}},
			}
		}),
	}, more...)...)
	if err != nil {
		return nil, errors.Join(err, testcontainers.TerminateContainer(made))
	}
	id := made.GetContainerID()
	return &Server{
		URL: url(port), Management: fmt.Sprintf("http://guest:guest@127.0.0.1:%d", api), How: image, container: id,
		kill: func(ctx context.Context) error {
			_, err := c.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "SIGKILL"})
			return err
		},
		start: func(ctx context.Context) error {
			_, err := c.ContainerStart(ctx, id, client.ContainerStartOptions{})
			return err
		},
		stop: func(ctx context.Context) error {
			_, err := c.ContainerStop(ctx, id, client.ContainerStopOptions{})
			return err
		},
		ctl: func(ctx context.Context, args ...string) error {
			return run(ctx, "docker", append([]string{"exec", id, "rabbitmqctl"}, args...)...)
		},
		end: func() error {
			_, err := c.ContainerRemove(context.Background(), id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			return err
		},
	}, nil
}

// quiet keeps testcontainers from writing into the tests' output.
type quiet struct{}

var _ log.Logger = quiet{}

func (quiet) Printf(string, ...any) {}

// findImage takes the image that is there, or pulls it, or builds it.
func findImage(ctx context.Context, c *testcontainers.DockerClient, v Version) (string, error) {
	i := images[v]
	for _, name := range []string{i.built, i.pulled} {
		if _, err := c.ImageInspect(ctx, name); err == nil {
			return name, nil
		}
	}
	pulled := run(ctx, "docker", "pull", "-q", i.pulled)
	if pulled == nil {
		return i.pulled, nil
	}
	_, here, _, _ := runtime.Caller(0)
	built := run(ctx, "bash", filepath.Join(filepath.Dir(here), "..", "image", "build.sh"), i.debian)
	if built == nil {
		return i.built, nil
	}
	return "", errors.Join(fmt.Errorf("pulling %s: %w", i.pulled, pulled), fmt.Errorf("building %s: %w", i.built, built))
}

// run runs a command to its end; the error has the end of what it printed.
func run(ctx context.Context, name string, args ...string) error {
	return runCommand(exec.CommandContext(ctx, name, args...))
}

func runCommand(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = bytes.TrimSpace(out)
		return fmt.Errorf("%w: %s", err, out[max(0, len(out)-500):])
	}
	return nil
}
