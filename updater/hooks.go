package updater

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// hooks runs the configured programs one after the other: no shell, no input, each within its time. They learn what
// happened from their environment. The lock is free by then, so that a hook may use the program itself.
func (c *cycle) hooks(ctx context.Context) {
	for _, h := range c.u.c.Hooks {
		if err := c.hook(ctx, h); err != nil {
			c.note(NoteHookFailed+": %s: %v", h.Argv[0], err)
		}
	}
}

func (c *cycle) hook(ctx context.Context, h Hook) error {
	limit := c.u.c.Limits.Hook
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Argv[0], h.Argv[1:]...)
	cmd.Env = append(os.Environ(),
		"AVDB_RESULT="+string(c.report.Result),
		"AVDB_FROM="+strconv.FormatUint(c.report.From, 10),
		"AVDB_TO="+strconv.FormatUint(c.report.To, 10),
		"AVDB_VARIANT="+string(c.report.Variant))
	cmd.WaitDelay = time.Second // for children that keep its output open
	err := cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
