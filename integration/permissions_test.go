package integration

import (
	"context"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// TestTheLeastPermissions has a user with no more permissions than docs/operations.md lists apply every kind of change, and one who may only read find out what was applied.
func TestTheLeastPermissions(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	if !s.Own() {
		t.Skip("users cannot be made on a server that the environment names")
	}
	name := newName()
	user := func(kind, configure, write, read string) string {
		control(t, s, "add_user", name+kind, "secret")
		t.Cleanup(func() {
			if err := s.Control(context.Background(), "delete_user", name+kind); err != nil {
				t.Error(err)
			}
		})
		control(t, s, "set_permissions", name+kind, configure, write, read)
		return strings.Replace(s.URL, "guest:guest@", name+kind+":secret@", 1)
	}
	prefix := "^" + name + `[a-z]\.`
	url := user("run", prefix, prefix+"|^amq\\.default$", prefix)
	for i, pair := range changes.Pairs {
		changes.Interrupt(t, url, "", name+string(rune('a'+i)), pair, 1000, false)
	}

	p := changes.Compile(t, name+"z", changes.Pairs[0].Old)
	b, _ := changes.Connect(t, url, amqp.Options{})
	changes.Apply(t, b, p)
	defer changes.Forget(t, b, p)
	reader, _ := changes.Connect(t, user("plan", "^$", "^$", "^"+name+`z\.plan$`), amqp.Options{})
	rec, err := router.Applied(t.Context(), reader, p)
	if err != nil || rec == nil || !plan.NewChange(rec, p).Settled {
		t.Errorf("with the permission to read the record alone: %v, %+v", err, rec)
	}
}
