//===- Errors.h - kinds of failure and their exit status ------------*- C++ -*-===//
// Part of moe-mlir, under the Apache License v2.0 with LLVM Exceptions; see LICENSE.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef MOE_LIB_DRIVER_ERRORS_H
#define MOE_LIB_DRIVER_ERRORS_H

#include "llvm/ADT/Twine.h"
#include "llvm/Support/Error.h"

#include <string>

namespace moe {

constexpr int statusOk = 0, statusBadInput = 1, statusUsage = 2, statusInternal = 3;

/// A failure that says more than its text: with which status to leave, and whether the user has been told already.
/// Any other llvm::Error is bad input.
class DriverError : public llvm::ErrorInfo<DriverError> {
public:
  static char ID;

  DriverError(int status, std::string message, bool reported = false)
      : status(status), message(std::move(message)), reported(reported) {}

  void log(llvm::raw_ostream &stream) const override { stream << message; }
  std::error_code convertToErrorCode() const override { return llvm::inconvertibleErrorCode(); }

  const int status;
  const std::string message;
  const bool reported;
};

/// The model or the machine is at fault; status 1.
inline llvm::Error inputError(const llvm::Twine &message) {
  return llvm::make_error<DriverError>(statusBadInput, message.str());
}

/// The command line is at fault, as shows only now; status 2.
inline llvm::Error usageError(const llvm::Twine &message) {
  return llvm::make_error<DriverError>(statusUsage, message.str());
}

/// The compiler is at fault; status 3.
inline llvm::Error internalError(const llvm::Twine &message) {
  return llvm::make_error<DriverError>(statusInternal, "internal error: " + message.str());
}

/// Bad input that diagnostics have explained already; status 1.
inline llvm::Error reportedError() { return llvm::make_error<DriverError>(statusBadInput, "", /*reported=*/true); }

} // namespace moe

#endif // MOE_LIB_DRIVER_ERRORS_H
