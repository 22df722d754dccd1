package ask

import (
	"errors"
	"strings"
	"testing"
)

func TestAsk(t *testing.T) {
	var out strings.Builder
	a := New(strings.NewReader("\n  mine \nmaybe\nN\nbad\ngood"), &out)
	if got, err := a.String("Name?", "default", nil); got != "default" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := a.String("Name?", "default", nil); got != "mine" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := a.Bool("Sure?", true); got || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	check := func(s string) error {
		if s == "bad" {
			return errors.New("not good")
		}
		return nil
	}
	if got, err := a.String("How?", "bad", check); got != "good" || err != nil { // the last line has no end
		t.Errorf("%q, %v", got, err)
	}
	if _, err := a.Bool("More?", true); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("%v", err)
	}
	want := "Name? [default=default]: Name? [default=default]: Sure? (yes/no) [default=yes]: Invalid input: answer yes or no\n" +
		"Sure? (yes/no) [default=yes]: How? [default=bad]: Invalid input: not good\nHow? [default=bad]: More? (yes/no) [default=yes]: \n"
	if out.String() != want {
		t.Errorf("asked %q\nwant  %q", out.String(), want)
	}
}
