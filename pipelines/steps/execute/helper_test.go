package execute

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// helperVariable makes the test binary one of the commands that the tests run.
const helperVariable = "EXECUTE_TEST_HELPER"

func TestMain(m *testing.M) {
	if name := os.Getenv(helperVariable); name != "" {
		os.Exit(helper(name, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// seen is what the helper record writes down.
type seen struct {
	Args  []string
	Env   []string
	Dir   string
	Input string
}

func helper(name string, args []string) int {
	switch name {
	case "record": // FILE …: writes there what it got
		input, _ := io.ReadAll(os.Stdin)
		dir, _ := os.Getwd()
		out, _ := json.Marshal(seen{Args: args, Env: os.Environ(), Dir: dir, Input: string(input)})
		if os.WriteFile(args[0], out, 0o600) != nil {
			return 1
		}
		return 0
	case "exit": // CODE TEXT: complains, with its input left unread
		fmt.Fprint(os.Stdout, "not to be shown")
		fmt.Fprint(os.Stderr, args[1])
		code, _ := strconv.Atoi(args[0])
		return code
	case "flood":
		fmt.Fprint(os.Stderr, "beginning"+strings.Repeat("ä", 100_000)+"\nthe end\n")
		return 1
	case "hang": // ADDRESS: lives as long as the connection
		return hang(args[0])
	case "family", "orphan": // ADDRESS: starts a hang, and hangs itself or leaves
		child := exec.Command(os.Args[0], args[0])
		child.Env = append(os.Environ(), helperVariable+"=hang")
		child.Stderr = os.Stderr
		if child.Start() != nil {
			return 1
		}
		if name == "family" {
			return hang(args[0])
		}
		return 0
	}
	return 99
}

func hang(address string) int {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, c)
	return 0
}

// helping are the options that run a helper.
func helping(t *testing.T, name string, args ...string) Options {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Options{Command: append([]string{self}, args...), Env: map[string]string{helperVariable: name}}
}
