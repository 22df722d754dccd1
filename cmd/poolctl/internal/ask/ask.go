package ask

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrNoAnswer means that the input ended before the question was answered.
var ErrNoAnswer = errors.New("the input ended")

// Asker reads answers from one input and writes questions to one output.
type Asker struct {
	in  *bufio.Reader
	out io.Writer
}

// New makes an Asker.
func New(in io.Reader, out io.Writer) *Asker { return &Asker{in: bufio.NewReader(in), out: out} }

// String asks for a line of text. An empty answer is the default, of which
// nothing is said when it is empty. check says
// what is wrong with an answer; nil takes any.
func (a *Asker) String(question, byDefault string, check func(string) error) (string, error) {
	for {
		prompt := question + ": "
		if byDefault != "" {
			prompt = fmt.Sprintf("%s [default=%s]: ", question, byDefault)
		}
		if _, err := io.WriteString(a.out, prompt); err != nil {
			return "", err
		}
		line, err := a.in.ReadString('\n')
		if err != nil && (!errors.Is(err, io.EOF) || line == "") {
			_, _ = fmt.Fprintln(a.out)
			if errors.Is(err, io.EOF) {
				err = ErrNoAnswer
			}
			return "", fmt.Errorf("cannot read the answer to %q: %w", question, err)
		}
		answer := strings.TrimSpace(line)
		if answer == "" {
			answer = byDefault
		}
		if check == nil {
			return answer, nil
		}
		bad := check(answer)
		if bad == nil {
			return answer, nil
		}
		if _, err := fmt.Fprintf(a.out, "Invalid input: %v\n", bad); err != nil {
			return "", err
		}
	}
}

// Bool asks a question to be answered with yes or no.
func (a *Asker) Bool(question string, byDefault bool) (bool, error) {
	word := map[bool]string{true: "yes", false: "no"}
	yes := false
	_, err := a.String(question+" (yes/no)", word[byDefault], func(s string) error {
		switch strings.ToLower(s) {
		case "yes", "y":
			yes = true
		case "no", "n":
			yes = false
		default:
			return errors.New("answer yes or no")
		}
		return nil
	})
	return yes, err
}
