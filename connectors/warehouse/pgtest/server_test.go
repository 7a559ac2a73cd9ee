package pgtest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestServer: what is committed is there after a stop and after a crash, and
// databases have nothing of each other.
func TestServer(t *testing.T) {
	s := Start(t)
	ctx := t.Context()
	dsn, other := s.Database(t), s.Database(t)
	do := func(ctx context.Context, dsn, sql string) error {
		c, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		_, err = c.Exec(ctx, sql)
		return err
	}
	if err := do(ctx, dsn, "CREATE TABLE kept (n int)"); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func() error{s.Stop, s.Kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := do(ctx, dsn, "SELECT 1"); err == nil {
			t.Error("the server answers after its end")
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if err := do(ctx, dsn, "SELECT n FROM kept"); err != nil {
			t.Error(err)
		}
	}
	if err := do(ctx, other, "SELECT n FROM kept"); err == nil {
		t.Error("another database has the table")
	}
}
