package wire

import "fmt"

// Method is a method's class and number.
type Method uint32

func method(class, number uint16) Method { return Method(uint32(class)<<16 | uint32(number)) }

// Class is the method's class.
func (m Method) Class() uint16 { return uint16(m >> 16) }

// Number is the method's number in its class.
func (m Method) Number() uint16 { return uint16(m) }

// ClassBasic is the class that content belongs to.
const ClassBasic = 60

// The methods, by class.
var (
	ConnectionStart     = method(10, 10)
	ConnectionStartOK   = method(10, 11)
	ConnectionSecureOK  = method(10, 21)
	ConnectionTune      = method(10, 30)
	ConnectionTuneOK    = method(10, 31)
	ConnectionOpen      = method(10, 40)
	ConnectionOpenOK    = method(10, 41)
	ConnectionClose     = method(10, 50)
	ConnectionCloseOK   = method(10, 51)
	ConnectionBlocked   = method(10, 60)
	ConnectionUnblocked = method(10, 61)

	ChannelOpen    = method(20, 10)
	ChannelOpenOK  = method(20, 11)
	ChannelFlow    = method(20, 20)
	ChannelFlowOK  = method(20, 21)
	ChannelClose   = method(20, 40)
	ChannelCloseOK = method(20, 41)

	ExchangeDeclare   = method(40, 10)
	ExchangeDeclareOK = method(40, 11)
	ExchangeDelete    = method(40, 20)
	ExchangeDeleteOK  = method(40, 21)
	ExchangeBind      = method(40, 30)
	ExchangeBindOK    = method(40, 31)
	ExchangeUnbind    = method(40, 40)
	ExchangeUnbindOK  = method(40, 51)

	QueueDeclare   = method(50, 10)
	QueueDeclareOK = method(50, 11)
	QueueBind      = method(50, 20)
	QueueBindOK    = method(50, 21)
	QueuePurge     = method(50, 30)
	QueuePurgeOK   = method(50, 31)
	QueueDelete    = method(50, 40)
	QueueDeleteOK  = method(50, 41)
	QueueUnbind    = method(50, 50)
	QueueUnbindOK  = method(50, 51)

	BasicQos          = method(60, 10)
	BasicQosOK        = method(60, 11)
	BasicConsume      = method(60, 20)
	BasicConsumeOK    = method(60, 21)
	BasicCancel       = method(60, 30)
	BasicCancelOK     = method(60, 31)
	BasicPublish      = method(60, 40)
	BasicReturn       = method(60, 50)
	BasicDeliver      = method(60, 60)
	BasicGet          = method(60, 70)
	BasicGetOK        = method(60, 71)
	BasicGetEmpty     = method(60, 72)
	BasicAck          = method(60, 80)
	BasicReject       = method(60, 90)
	BasicRecoverAsync = method(60, 100)
	BasicRecover      = method(60, 110)
	BasicRecoverOK    = method(60, 111)
	BasicNack         = method(60, 120)

	ConfirmSelect   = method(85, 10)
	ConfirmSelectOK = method(85, 11)

	TxSelect     = method(90, 10)
	TxSelectOK   = method(90, 11)
	TxCommit     = method(90, 20)
	TxCommitOK   = method(90, 21)
	TxRollback   = method(90, 30)
	TxRollbackOK = method(90, 31)
)

// Code is an AMQP reply code.
type Code uint16

// The reply codes that are used.
const (
	Success            Code = 200
	NoRoute            Code = 312
	ConnectionForced   Code = 320
	AccessRefused      Code = 403
	NotFound           Code = 404
	ResourceLocked     Code = 405
	PreconditionFailed Code = 406
	FrameError         Code = 501
	SyntaxError        Code = 502
	CommandInvalid     Code = 503
	ChannelError       Code = 504
	UnexpectedFrame    Code = 505
	NotAllowed         Code = 530
	NotImplemented     Code = 540
	InternalError      Code = 541
)

var codeNames = map[Code]string{
	ConnectionForced: "CONNECTION_FORCED", AccessRefused: "ACCESS_REFUSED", NotFound: "NOT_FOUND", ResourceLocked: "RESOURCE_LOCKED",
	PreconditionFailed: "PRECONDITION_FAILED", FrameError: "FRAME_ERROR", SyntaxError: "SYNTAX_ERROR", CommandInvalid: "COMMAND_INVALID",
	ChannelError: "CHANNEL_ERROR", UnexpectedFrame: "UNEXPECTED_FRAME", NotAllowed: "NOT_ALLOWED", NotImplemented: "NOT_IMPLEMENTED",
	InternalError: "INTERNAL_ERROR",
}

// hard codes close the connection, the others the channel.
func (c Code) hard() bool {
	switch c {
	case ConnectionForced, FrameError, SyntaxError, CommandInvalid, ChannelError, UnexpectedFrame, NotAllowed, NotImplemented, InternalError:
		return true
	}
	return false
}

// Error is an error that is told to the client.
type Error struct {
	Code Code
	Text string // as RabbitMQ writes it, with the code's name
	Hard bool   // it closes the connection, not only the channel
}

func (e *Error) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Text) }

// Errorf makes an error with RabbitMQ's form of text.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: codeNames[code] + " - " + fmt.Sprintf(format, args...), Hard: code.hard()}
}
